// Listing directories: cookies are the name server's and stay; "." is 1 and ".." is 2.

#include "fuse-client/vfs/client.h"

namespace dfs {
namespace {

constexpr uint64_t kCookieDot = 1;
constexpr uint64_t kCookieDotDot = 2;

}  // namespace

kj::Promise<Outcome<DirHandle>> Client::opendir(InodeId ino) {
  DirHandle handle = nextHandle_++;
  directories_[handle] = ino;
  return Outcome<DirHandle>(handle);
}

void Client::releasedir(DirHandle handle) {
  directories_.erase(handle);
}

kj::Promise<Outcome<std::vector<Listing>>> Client::readdir(InodeId ino, DirHandle handle,
                                                           uint64_t cookie, uint32_t entriesMax,
                                                           bool attrs) {
  using Result = Outcome<std::vector<Listing>>;
  if (directories_.count(handle) == 0) return Result(Errno::INVAL);
  if (entriesMax == 0) return Result(Errno::INVAL);
  if (cookie == 0) accesses_.accessed(ino);
  kj::Promise<Result> work = readdirNow(ino, cookie, entriesMax, attrs);
  return soft(kj::mv(work));
}

Task<Outcome<std::vector<Listing>>> Client::readdirNow(InodeId ino, uint64_t cookie,
                                                       uint32_t entriesMax, bool attrs) {
  uint32_t dots = cookie == 0 ? 2 : cookie == kCookieDot ? 1 : 0;
  uint32_t wanted = entriesMax > dots ? entriesMax - dots : 1;
  wanted = kj::min(wanted, kDirEntriesPerAnswerMax);
  auto from = kj::max(cookie, kCookieDotDot);
  auto asked = leasesDropped_;
  auto answer = co_await names_.ask<schema::Session::ReaddirResults>(
      [ino, from, wanted, attrs](schema::Session::Client& session) {
        auto request = session.readdirRequest();
        request.setIno(ino.value);
        request.setCookie(from);
        request.setEntriesMax(wanted);
        request.setAttrs(attrs);
        return request;
      });
  if (answer.getErr() != Errno::OK) co_return answer.getErr();
  std::vector<Listing> list;
  if (dots >= 2) list.push_back({".", ino, schema::Kind::DIRECTORY, kCookieDot, nullptr});
  if (dots >= 1 && list.size() < entriesMax) {
    auto parent = ino == root_ ? ino : InodeId(answer.getParent());
    list.push_back({"..", parent, schema::Kind::DIRECTORY, kCookieDotDot, nullptr});
  }
  auto entries = answer.getEntries();
  // Counted before anything waits: they are about to be answered (G4).
  std::vector<kj::Own<Counted>> counts;
  for (auto entry : entries) {
    if (entry.hasAttr()) counts.push_back(kj::heap<Counted>(*this, attrOf(entry.getAttr())));
  }
  size_t counted = 0;
  for (auto entry : entries) {
    if (list.size() >= entriesMax) break;
    auto name = entry.getName();
    Listing one{std::string(reinterpret_cast<const char*>(name.begin()), name.size()),
                InodeId(entry.getIno()), entry.getKind(), entry.getCookie(), nullptr};
    if (entry.hasAttr()) {
      auto attr = entry.getAttr();
      // A listing waits for no file's writes (G10): whoever wants the attributes asks.
      if (!hasEarly(one.ino)) {
        auto told =
            co_await deliver(attrOf(attr), fromWire(attr.getDataVersion()), asked, For::LISTING);
        if (told.ok()) {
          one.attr = kj::mv(*told);
          counts[counted]->keep();
        }
      }
      ++counted;
    }
    list.push_back(kj::mv(one));
  }
  co_return kj::mv(list);
}

}  // namespace dfs
