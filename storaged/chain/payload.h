#pragma once
// The bytes of one update, from its arrival until it is committed: they lie in the message that
// brought them, which is kept.
//
// Thread: the loop's. Owner: whoever works on the update, by reference counts.

#include "common/ids.h"
#include "common/kv.h"

#include <rpc-schema/storage.capnp.h>

#include <kj/array.h>
#include <kj/refcount.h>

namespace dfs {

struct Kept {
  virtual ~Kept() noexcept(false) {}
};
template <typename T> struct KeptOf final : Kept {
  explicit KeptOf(T v) : value(kj::mv(v)) {}
  T value;
};
template <typename T> kj::Own<Kept> keep(T value) {
  return kj::heap<KeptOf<T>>(kj::mv(value));
}

struct Payload : kj::Refcounted {
  BlockId block;
  uint32_t offset = 0;
  Bytes data;  // in `kept`
  kj::Array<uint64_t> sums;
  RequestId request;
  uint64_t windowFrom = 0;
  uint32_t clearFrom = 0;
  kj::Own<Kept> kept;
};

inline kj::Own<Payload> payloadOf(schema::Update::Reader r, kj::Own<Kept> kept) {
  auto p = kj::refcounted<Payload>();
  p->block = BlockId(r.getBlock());
  p->offset = r.getOffset();
  p->data = r.getData();
  auto sums = r.getSums();
  p->sums = kj::heapArray<uint64_t>(sums.size());
  for (uint32_t i = 0; i < sums.size(); ++i) p->sums[i] = sums[i];
  p->request = fromWire(r.getRequest());
  p->windowFrom = r.getWindowFrom();
  p->clearFrom = r.getClearFrom();
  p->kept = kj::mv(kept);
  return p;
}

inline void toWire(Payload& p, schema::Update::Builder b) {
  b.setBlock(p.block.value);
  b.setOffset(p.offset);
  b.setData(p.data);
  auto sums = b.initSums(p.sums.size());
  for (uint32_t i = 0; i < p.sums.size(); ++i) sums.set(i, p.sums[i]);
  toWire(p.request, b.initRequest());
  b.setWindowFrom(p.windowFrom);
  b.setClearFrom(p.clearFrom);
}

}  // namespace dfs
