#include "tests/sim/kernel_model.h"

namespace dfs {
namespace {
constexpr uint64_t kPage = 4096;
}

kj::Promise<void> KernelModel::turn(uint64_t usMax) {
  auto now = time_.timer.now();
  lastTurn_ = (lastTurn_ < now ? now : lastTurn_) + random_.between(5, usMax) * kj::MICROSECONDS;
  return time_.timer.atTime(lastTurn_);
}

kj::Promise<void> KernelModel::dropAttributes(InodeId ino) {
  return turn(60).then([this, ino]() { changed(pages_[ino]); });
}

kj::Promise<void> KernelModel::dropPages(InodeId ino, uint64_t offset, uint64_t bytes) {
  ++drops_;
  return turn(200).then([this, ino, offset, bytes]() {
    changed(pages_[ino]);
    forgetRange(ino, offset, bytes);
  });
}

kj::Promise<void> KernelModel::storePages(InodeId ino, uint64_t offset, kj::Array<kj::byte> data) {
  return turn(200).then([this, ino, offset, stored = kj::mv(data)]() {
    grown(ino, offset + stored.size());
    auto& pages = pages_[ino].pages;
    auto found = pages.find(offset / kPage);
    if (found == pages.end()) return;
    auto& page = found->second;
    page.resize(kPage, '\0');
    memcpy(&page[offset % kPage], stored.begin(), kj::min(stored.size(), kPage - offset % kPage));
  });
}

void KernelModel::take(const Attr& attr, uint64_t asked) {
  auto& known = pages_[attr.ino];
  if (known.version > asked || known.extending > 0) return;
  changed(known);
  if (known.mtime != attr.mtime || known.size != attr.size) known.pages.clear();
  known.mtime = attr.mtime;
  known.size = attr.size;
}

void KernelModel::grown(InodeId ino, uint64_t end) {
  auto& known = pages_[ino];
  changed(known);
  known.size = kj::max(known.size, end);
}

void KernelModel::knows(const Attr& attr) {
  auto& known = pages_[attr.ino];
  changed(known);
  if (known.size != attr.size) known.pages.clear();
  known.size = attr.size;
}

void KernelModel::forgetRange(InodeId ino, uint64_t offset, uint64_t bytes) {
  auto found = pages_.find(ino);
  if (found == pages_.end()) return;
  auto& pages = found->second.pages;
  auto end = bytes == 0 ? pages.end() : pages.lower_bound((offset + bytes + kPage - 1) / kPage);
  pages.erase(pages.lower_bound(offset / kPage), end);
}

Task<Outcome<std::string>> KernelModel::read(Vfs& vfs, InodeId ino, FileHandle handle,
                                             uint64_t offset, uint32_t bytes) {
  auto asked = changes_;
  auto attr = co_await vfs.getattrToRead(ino, handle);
  if (!attr.ok()) co_return attr.err();
  take(*attr, asked);
  auto& known = pages_[ino];
  if (offset >= known.size || bytes == 0) co_return std::string();
  uint64_t end = kj::min(offset + bytes, known.size);
  std::string text;
  bool all = true;
  for (uint64_t page = offset / kPage; all && page * kPage < end; ++page) {
    auto found = known.pages.find(page);
    all = found != known.pages.end();
    if (all) text += found->second;
  }
  if (all) {
    text.resize(kj::min(text.size(), end - offset / kPage * kPage), '\0');
    co_return text.substr(offset % kPage);
  }
  auto from = offset / kPage * kPage;
  auto count = static_cast<uint32_t>((end + kPage - 1) / kPage * kPage - from);
  auto writes = known.writes;
  asked = changes_;
  auto got = co_await vfs.read(handle, from, count);
  if (!got.ok()) co_return got.err();
  std::string data(reinterpret_cast<const char*>(got->begin()), got->size());
  auto& now = pages_[ino];
  if (data.size() < count && now.version <= asked && now.size > from + data.size()) {
    changed(now);
    now.size = from + data.size();
  }
  data.resize(count, '\0');
  if (now.writes == writes) {
    for (uint64_t at = 0; at < data.size(); at += kPage) {
      now.pages[(from + at) / kPage] = data.substr(at, kPage);
    }
  }
  if (now.size <= offset) co_return std::string();
  co_return data.substr(offset - from, kj::min(end, now.size) - offset);
}

Task<Outcome<uint32_t>> KernelModel::write(Vfs& vfs, InodeId ino, FileHandle handle,
                                           uint64_t offset, std::string data, bool append) {
  auto bytes = kj::heapArray<kj::byte>(data.size());
  memcpy(bytes.begin(), data.data(), data.size());
  auto forget = [&]() {
    ++pages_[ino].writes;
    forgetRange(ino, append ? 0 : offset, append ? 0 : data.size());
  };
  if (append) offset = pages_[ino].size;
  bool extends = offset + data.size() > pages_[ino].size;
  forget();
  pages_[ino].extending += extends;
  auto done = co_await vfs.write(handle, offset, kj::mv(bytes), {.append = append}, nullptr);
  pages_[ino].extending -= extends;
  if (done.ok()) grown(ino, offset + *done);
  forget();
  co_return kj::mv(done);
}

Task<Errno> KernelModel::fallocate(Vfs& vfs, InodeId ino, FileHandle handle, SpaceChange change,
                                   uint64_t offset, uint64_t bytes, bool keepSize) {
  ++pages_[ino].writes;
  auto err = co_await vfs.fallocate(handle, change, offset, bytes, keepSize, nullptr);
  ++pages_[ino].writes;
  if (err == Errno::OK && !keepSize) grown(ino, offset + bytes);
  forgetRange(ino, offset, bytes);
  co_return err;
}

Task<Outcome<uint64_t>> KernelModel::copyRange(Vfs& vfs, FileHandle from, uint64_t fromOffset,
                                               InodeId toIno, FileHandle to, uint64_t toOffset,
                                               uint64_t bytes) {
  ++pages_[toIno].writes;
  auto done = co_await vfs.copyRange(from, fromOffset, to, toOffset, bytes, nullptr);
  ++pages_[toIno].writes;
  if (done.ok()) grown(toIno, toOffset + *done);
  forgetRange(toIno, toOffset, bytes);
  co_return kj::mv(done);
}

Task<Outcome<Attr>> KernelModel::walk(Vfs& vfs, std::vector<std::string> names) {
  auto at = co_await vfs.getattr(kRootInode);
  for (auto& name : names) {
    if (!at.ok()) break;
    auto ino = at->ino;
    auto asked = changes_;
    at = co_await vfs.lookup(ino, name);
    if (!at.ok()) break;
    counted(at->ino);
    take(*at, asked);
  }
  co_return kj::mv(at);
}

void KernelModel::unhold(InodeId ino) {
  auto found = holds_.find(ino);
  if (found != holds_.end() && --found->second == 0) holds_.erase(found);
}

void KernelModel::forgetAll(Vfs& vfs) {
  auto known = kj::mv(lookups_);
  lookups_.clear();
  for (auto& [ino, count] : known) {
    if (holds_.count(ino) != 0) {
      lookups_[ino] = count;
    } else {
      pages_.erase(ino);
      vfs.forget(ino, count);
    }
  }
}

}  // namespace dfs
