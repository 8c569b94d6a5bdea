#include "fuse-client/fuse/directory_places.h"

#include <kj/debug.h>

namespace dfs {
namespace {
constexpr auto kPatience = 20 * kj::MILLISECONDS;
}

void DirectoryPlaces::told(InodeId directory, InodeId parent, const std::string& name) {
  Place place(parent, name);
  auto known = places_.find(directory.value);
  if (known != places_.end()) {
    if (known->second == place) return;
    auto there = directories_.find(known->second);
    bool still = there != directories_.end() && there->second == directory;
    if (still) drop(known->second);  // or the kernel has been told of another one there
  }
  put(directory, kj::mv(place));
}

void DirectoryPlaces::renamed(InodeId from, const std::string& fromName, InodeId to,
                              const std::string& toName, bool exchanged) {
  Place source(from, fromName), target(to, toName);
  auto moved = directories_.find(source);
  auto other = directories_.find(target);
  kj::Maybe<InodeId> first, second;
  if (moved != directories_.end()) first = moved->second;
  if (exchanged && other != directories_.end()) second = other->second;
  KJ_IF_MAYBE(directory, first) put(*directory, target);
  KJ_IF_MAYBE(directory, second) put(*directory, source);
}

void DirectoryPlaces::forgot(InodeId directory) {
  auto known = places_.find(directory.value);
  if (known == places_.end()) return;
  auto back = directories_.find(known->second);
  if (back != directories_.end() && back->second == directory) directories_.erase(back);
  places_.erase(known);
}

void DirectoryPlaces::put(InodeId directory, Place place) {
  forgot(directory);
  directories_[place] = directory;
  places_[directory.value] = kj::mv(place);
}

kj::Promise<void> DirectoryPlaces::dropped() {
  return ended_.next().exclusiveJoin(timer_.afterDelay(kPatience));
}

void DirectoryPlaces::drop(const Place& place) {
  KJ_IF_MAYBE(kernel, kernel_) {
    ++under_;
    drops_.add(kernel->dropEntry(place.first, place.second).attach(kj::defer([this]() {
      if (--under_ == 0) ended_.wake();
    })));
  }
}

void DirectoryPlaces::taskFailed(kj::Exception&& e) {
  KJ_LOG(ERROR, "an entry of the kernel could not be dropped", e);
}

}  // namespace dfs
