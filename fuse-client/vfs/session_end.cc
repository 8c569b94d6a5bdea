// What is left when a session has ended (S3).

#include "fuse-client/vfs/client.h"

namespace dfs {

void Client::sessionEnded() {
  inodes_.sessionEnded();
  unpins_.clear();
  locks_.sessionEnded();
  for (auto& [ino, file] : files_) {
    if (file->dirty()) loseData(*file, "the session ended before it was synced");
    if (file->held()) {
      dropLease(*file);
      file->leaseEra = names_.era();
    }
    file->answered = 0;
    if (file->pagesPresent) {
      // The first GETATTR of the new session waits for all of these.
      ++endDrops_;
      tasks_.add(dropPages(*file).attach(kj::defer([this]() {
        --endDrops_;
        endDropped_.wake();
      })));
    }
    file->changed.wake();
    wakeWaiters(*file);
  }
}

void Client::loseData(File& file, kj::StringPtr why, Errno err) {
  // Told to every descriptor that is open now, or to the next one.
  KJ_LOG(ERROR, "data of a file that was not yet synced is lost", file.ino, why, nameOf(err));
  bool told = false;
  for (auto& [id, handle] : handles_) {
    if (handle.file.get() != &file) continue;
    handle.error = err;
    told = true;
  }
  if (!told) file.unseen = err;
}

}  // namespace dfs
