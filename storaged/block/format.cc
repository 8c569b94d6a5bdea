#include "storaged/block/format.h"

#include "common/checksum.h"

#include <kj/debug.h>

namespace dfs::block {
namespace {

constexpr uint32_t kIntentMagic = 0x49534644;  // "DFSI"
constexpr uint8_t kRecordVersion = 1;
constexpr uint8_t kCommittedFlag = 1;
constexpr uint8_t kDoubtfulFlag = 2;

class Writer {
 public:
  template <typename T> Writer& put(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) {
      text_.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
    }
    return *this;
  }
  std::string finish() { return std::move(text_); }

 private:
  std::string text_;
};

class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}
  template <typename T> T get() {
    KJ_REQUIRE(at_ + sizeof(T) <= bytes_.size(), "a record of the block index is too short",
               bytes_.size());
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= uint64_t(bytes_[at_ + i]) << (8 * i);
    at_ += sizeof(T);
    return static_cast<T>(value);
  }
  bool atEnd() const { return at_ == bytes_.size(); }

 private:
  Bytes bytes_;
  size_t at_ = 0;
};

void put(Writer& w, const BlockRecord& r) {
  uint8_t flags = (r.committed ? kCommittedFlag : 0) | (r.doubtful ? kDoubtfulFlag : 0);
  w.put(r.slot)
      .put(r.at.epoch)
      .put(r.at.version)
      .put(r.request.client)
      .put(r.request.sequence)
      .put(r.length);
  w.put(kRecordVersion).put(flags).put(uint16_t(0));
}

BlockRecord getRecord(Reader& r) {
  BlockRecord record;
  record.slot = r.get<uint64_t>();
  record.at.epoch = r.get<uint64_t>();
  record.at.version = r.get<uint64_t>();
  record.request.client = r.get<uint64_t>();
  record.request.sequence = r.get<uint64_t>();
  record.length = r.get<uint32_t>();
  auto version = r.get<uint8_t>();
  KJ_REQUIRE(version == kRecordVersion,
             "a record of the block index is of a version that this program does not know",
             version);
  auto flags = r.get<uint8_t>();
  record.committed = (flags & kCommittedFlag) != 0;
  record.doubtful = (flags & kDoubtfulFlag) != 0;
  r.get<uint16_t>();
  return record;
}

std::string bigEndian(uint64_t value) {
  std::string key(8, 0);
  for (size_t i = 0; i < 8; ++i) key[i] = static_cast<char>(value >> (56 - 8 * i));
  return key;
}

size_t padded(size_t bytes) {
  return (bytes + 7) / 8 * 8;
}

}  // namespace

std::string encode(const BlockRecord& record) {
  Writer w;
  put(w, record);
  return w.finish();
}

BlockRecord decodeRecord(Bytes bytes) {
  Reader r(bytes);
  auto record = getRecord(r);
  KJ_REQUIRE(r.atEnd() && record.length <= kBlockBytes, "a record of the block index is malformed");
  return record;
}

std::string encode(const Group& group) {
  Writer w;
  for (auto sum : group) w.put(sum);
  return w.finish();
}

Group decodeGroup(Bytes bytes) {
  KJ_REQUIRE(bytes.size() == sizeof(Group), "a group of sums has a wrong size", bytes.size());
  Reader r(bytes);
  Group group;
  for (auto& sum : group) sum = r.get<uint64_t>();
  return group;
}

std::string encode(const Meta& meta) {
  Writer w;
  w.put(meta.log).put(meta.sequence).put(uint64_t(kRecordVersion));
  return w.finish();
}

Meta decodeMeta(Bytes bytes) {
  Reader r(bytes);
  Meta meta;
  meta.log = r.get<uint64_t>();
  meta.sequence = r.get<uint64_t>();
  auto version = r.get<uint64_t>();
  KJ_REQUIRE(version == kRecordVersion,
             "the block store is of a version that this program does not know", version);
  return meta;
}

std::string recordKey(BlockId block) {
  return bigEndian(block.value);
}

BlockId blockOfKey(Bytes key) {
  KJ_REQUIRE(key.size() >= 8, "a key of the block index is too short");
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | key[i];
  return BlockId(value);
}

std::string sumKey(BlockId block, uint32_t group) {
  auto key = bigEndian(block.value);
  key.push_back(static_cast<char>(group));
  return key;
}

std::string encode(const Intent& intent, uint64_t log) {
  Writer body;
  body.put(intent.sequence).put(intent.dataSynced).put(intent.logSynced).put(intent.block.value);
  put(body, intent.record);
  body.put(static_cast<uint32_t>(intent.kind)).put(intent.firstUnit).put(intent.clearFirst);
  body.put(static_cast<uint32_t>(intent.sums.size()));
  body.put(uint64_t(0)).put(uint64_t(0));
  for (auto sum : intent.sums) body.put(sum);
  auto text = body.finish();
  Writer head;
  head.put(kIntentMagic).put(static_cast<uint32_t>(text.size())).put(checksum(bytesOf(text), log));
  auto all = head.finish() + text;
  all.resize(padded(all.size()), 0);
  return all;
}

bool looksLikeIntent(const kj::byte* bytes) {
  return bytes[0] == (kIntentMagic & 0xff) && bytes[1] == (kIntentMagic >> 8 & 0xff) &&
         bytes[2] == (kIntentMagic >> 16 & 0xff) && bytes[3] == kIntentMagic >> 24;
}

kj::Maybe<Intent> decodeIntent(Bytes bytes, uint64_t log, size_t& used) {
  constexpr size_t kPrefix = 16;
  if (bytes.size() < kIntentHeadBytes) return nullptr;
  Reader head(bytes.slice(0, kPrefix));
  if (head.get<uint32_t>() != kIntentMagic) return nullptr;
  size_t size = head.get<uint32_t>();
  auto sum = head.get<uint64_t>();
  if (size < kIntentHeadBytes - kPrefix || size > bytes.size() - kPrefix ||
      size > kIntentHeadBytes + kUnitsPerBlock * sizeof(uint64_t)) {
    return nullptr;
  }
  auto body = bytes.slice(kPrefix, kPrefix + size);
  if (checksum(body, log) != sum) return nullptr;
  Reader r(body);
  Intent intent;
  intent.sequence = r.get<uint64_t>();
  intent.dataSynced = r.get<uint64_t>();
  intent.logSynced = r.get<uint64_t>();
  intent.block = BlockId(r.get<uint64_t>());
  intent.record = getRecord(r);
  intent.kind = static_cast<IntentKind>(r.get<uint32_t>());
  intent.firstUnit = r.get<uint32_t>();
  intent.clearFirst = r.get<uint32_t>();
  auto count = r.get<uint32_t>();
  r.get<uint64_t>();
  r.get<uint64_t>();
  KJ_REQUIRE(count <= kUnitsPerBlock && intent.firstUnit + count <= kUnitsPerBlock,
             "an intent with a good checksum is malformed");
  for (uint32_t i = 0; i < count; ++i) intent.sums.push_back(r.get<uint64_t>());
  used = padded(kPrefix + size);
  return intent;
}

}  // namespace dfs::block
