#pragma once
// The Vfs: one class, its topics in a file each (names.cc, directories.cc, attributes.cc, xattrs.cc,
// lease.cc, file_read.cc, file_write.cc, file_space.cc, file_seek.cc, file_clone.cc, file_sync.cc,
// pages.cc, session_end.cc).
//
// Thread: the loop's. Owner: whoever called newVfs.
// Invariants:
//   1. What changes a file runs in `tasks_` to its end, whether its caller is there or not: a write
//      that was given up must not meet its successor half done (C6).
//   2. No call waits, holding something, for what a recall's answer needs (G9).
//   3. No attributes reach the caller before pages of another data version are gone (V7).

#include "common/acl.h"
#include "fuse-client/remote/ranges.h"
#include "fuse-client/remote/storage_client.h"
#include "fuse-client/vfs/accesses.h"
#include "fuse-client/vfs/file_state.h"
#include "fuse-client/vfs/inode_map.h"
#include "fuse-client/vfs/locks.h"
#include "fuse-client/vfs/vfs.h"
#include "fuse-client/vfs/write_window.h"

namespace dfs {

class Client final : public Vfs, private NameEvents, private kj::TaskSet::ErrorHandler {
 public:
  Client(Env& env, VfsOptions options);
  ~Client() noexcept(false);
  KJ_DISALLOW_COPY(Client);

  kj::Promise<Outcome<Attr>> lookup(InodeId parent, std::string name) override;
  void forget(InodeId ino, uint64_t lookups) override;
  kj::Promise<Outcome<Attr>> mknod(InodeId parent, std::string name, schema::Kind kind,
                                   uint32_t mode, uint64_t rdev, Caller caller) override;
  kj::Promise<Outcome<Attr>> mkdir(InodeId parent, std::string name, uint32_t mode,
                                   Caller caller) override;
  kj::Promise<Outcome<Attr>> symlink(InodeId parent, std::string name, std::string target,
                                     Caller caller) override;
  kj::Promise<Outcome<Attr>> link(InodeId ino, InodeId parent, std::string name,
                                  Caller caller) override;
  kj::Promise<Errno> unlink(InodeId parent, std::string name, Caller caller) override;
  kj::Promise<Errno> rmdir(InodeId parent, std::string name, Caller caller) override;
  kj::Promise<Errno> rename(InodeId fromParent, std::string fromName, InodeId toParent,
                            std::string toName, uint32_t flags, Caller caller) override;
  kj::Promise<Outcome<std::string>> readlink(InodeId ino) override;
  kj::Promise<Outcome<Attr>> getattr(InodeId ino) override;
  kj::Promise<Outcome<Attr>> getattrToRead(InodeId ino, FileHandle handle) override;
  kj::Promise<Outcome<Attr>> setattr(InodeId ino, SetAttr set, kj::Maybe<FileHandle> handle,
                                     Caller caller) override;
  kj::Promise<Outcome<FsStat>> statfs() override;
  kj::Promise<Errno> setxattr(InodeId ino, std::string name, kj::Array<kj::byte> value,
                              Replace replace, Caller caller) override;
  kj::Promise<Outcome<kj::Array<kj::byte>>> getxattr(InodeId ino, std::string name) override;
  kj::Promise<Outcome<std::vector<std::string>>> listxattr(InodeId ino, Caller caller) override;
  kj::Promise<Errno> removexattr(InodeId ino, std::string name, Caller caller) override;
  kj::Promise<Outcome<Created>> create(InodeId parent, std::string name, uint32_t mode, int flags,
                                       Caller caller) override;
  kj::Promise<Outcome<Opened>> open(InodeId ino, int flags, Caller caller) override;
  kj::Promise<Errno> release(FileHandle handle) override;
  kj::Promise<Errno> flush(FileHandle handle) override;
  kj::Promise<Outcome<kj::Array<kj::byte>>> read(FileHandle handle, uint64_t offset,
                                                 uint32_t bytes) override;
  kj::Promise<Outcome<uint32_t>> write(FileHandle handle, uint64_t offset, kj::Array<kj::byte> data,
                                       WriteHow how, kj::Maybe<Caller> unprivileged) override;
  kj::Promise<Errno> fsync(InodeId ino, bool dataOnly, FileHandle handle) override;
  kj::Promise<Errno> fallocate(FileHandle handle, SpaceChange change, uint64_t offset,
                               uint64_t bytes, bool keepSize,
                               kj::Maybe<Caller> unprivileged) override;
  kj::Promise<Outcome<kj::Maybe<uint64_t>>> seek(FileHandle handle, uint64_t offset,
                                                 bool data) override;
  kj::Promise<Outcome<uint64_t>> copyRange(FileHandle from, uint64_t fromOffset, FileHandle to,
                                           uint64_t toOffset, uint64_t bytes,
                                           kj::Maybe<Caller> unprivileged) override;
  kj::Promise<Errno> lock(FileHandle handle, FileLock lock, bool wait,
                          kj::Promise<void> interrupted) override;
  kj::Promise<Outcome<FileLock>> testLock(FileHandle handle, FileLock lock) override;
  kj::Promise<void> closeLocks(FileHandle handle, uint64_t owner) override;
  kj::Promise<Outcome<DirHandle>> opendir(InodeId ino) override;
  kj::Promise<Outcome<std::vector<Listing>>> readdir(InodeId ino, DirHandle handle, uint64_t cookie,
                                                     uint32_t entriesMax, bool attrs) override;
  void releasedir(DirHandle handle) override;
  void setKernel(KernelCaches& kernel) override { kernel_ = kernel; }
  void setCallers(Callers& callers) override { callers_ = callers; }
  kj::Promise<void> attach() override;
  InodeId root() const override { return root_; }
  kj::Promise<void> syncAll() override;
  kj::Promise<void> detach() override;
  std::string describe() override;

 private:
  struct Handle {
    kj::Own<File> file;
    int flags;
    uint64_t era;
    Errno error = Errno::OK;  // sticky, until this descriptor has been told
  };
  class Counted;  // a lookup that is taken back unless the caller gets it
  class Request;  // a READ or WRITE that is not done
  class Reply;    // what a writer is told, once
  using Fill = kj::Function<void(schema::Command::Builder)>;

  // --- NameEvents
  std::vector<Claim> claims() override;
  std::vector<FileLock> lockClaims() override { return locks_.claims(); }
  void recall(InodeId ino, uint64_t sequence) override;
  std::vector<InodeId> stillUsed(std::vector<InodeId> inos) override;
  void sessionEnded() override;
  void taskFailed(kj::Exception&& exception) override;

  // --- helpers
  template <typename T> kj::Promise<T> detached(kj::Promise<T> work) {
    // Runs to its end even if the answer is no longer wanted.
    auto pair = kj::newPromiseAndFulfiller<T>();
    tasks_.add(attempt(kj::mv(work)).then([f = kj::mv(pair.fulfiller)](Tried<T>&& tried) mutable {
      KJ_IF_MAYBE(value, tried.value) f->fulfill(kj::mv(*value));
      KJ_IF_MAYBE(failure, tried.failure) f->reject(kj::mv(*failure));
    }));
    return kj::mv(pair.promise);
  }
  template <typename T> kj::Promise<T> soft(kj::Promise<T> work) {
    if (options_.softTimeoutMs == 0) return kj::mv(work);
    auto late =
        env_.clock.timer().afterDelay(options_.softTimeoutMs * kj::MILLISECONDS).then([]() -> T {
          return Errno::IO;
        });
    return work.exclusiveJoin(kj::mv(late));
  }
  kj::Maybe<File&> findFile(InodeId ino);
  kj::Own<File> fileOf(InodeId ino);  // made if need be
  kj::Maybe<Handle&> findHandle(FileHandle handle);
  Opened newHandle(kj::Own<File> file, int flags);
  Task<Errno> flushNow(FileHandle handle);
  uint64_t nowMs() { return env_.clock.bootMs(); }
  static void fillCredentials(schema::Command::Builder command, const Caller& caller);
  static Attr attrOf(schema::Attr::Reader r);

  // --- client.cc
  Task<void> findRoot();

  // --- names.cc
  Task<Outcome<Attr>> lookupNow(InodeId parent, std::string name);
  Task<Outcome<Attr>> makeNow(Caller caller, Fill fill);
  Task<Outcome<Created>> createNow(InodeId parent, std::string name, uint32_t mode, int flags,
                                   Caller caller);
  Task<Outcome<Created>> createLost(InodeId parent, std::string name, int flags, Caller caller);
  Task<Outcome<Attr>> linkNow(InodeId ino, InodeId parent, std::string name, Caller caller);
  kj::Promise<Errno> removeName(InodeId parent, std::string name, bool directory, Caller caller);
  Task<Errno> changeNow(Fill fill);
  Task<Errno> renameNow(InodeId fromParent, std::string fromName, InodeId toParent,
                        std::string toName, uint32_t flags, Caller caller);
  Task<Errno> publishNamed(InodeId parent, std::string name);
  Task<Outcome<std::string>> readlinkNow(InodeId ino);
  Task<void> sendUnpins();

  // --- directories.cc
  Task<Outcome<std::vector<Listing>>> readdirNow(InodeId ino, uint64_t cookie, uint32_t entriesMax,
                                                 bool attrs);

  // --- attributes.cc
  enum class For { READ, STAT, LISTING, OWN };
  // What attributes are asked for; OWN: not to be told, or in an answer that the kernel takes as it is.
  Task<Outcome<Attr>> getattrNow(InodeId ino, For purpose = For::STAT);
  Task<Outcome<Attr>> getattrKnown(InodeId ino);
  // After what was read here before is known as accesses.
  Task<void> tellAccess(InodeId ino);
  bool isOpenForWrite(InodeId ino);
  void readThrough(InodeId ino, FileHandle handle);
  // That descriptor reads: an access, unless it was opened with O_NOATIME.
  Task<Outcome<Attr>> getattrOnce(InodeId ino);
  // As the name server says it.
  Task<Outcome<Attr>> maybeBeforeWrite(InodeId ino, SetAttr set, Caller caller);
  Task<Outcome<Attr>> setattrNow(InodeId ino, SetAttr set, bool openForWrite, Caller caller);
  Task<Outcome<Attr>> resizeNow(kj::Own<File> file, SetAttr set, bool openForWrite, Caller caller,
                                kj::Own<Growth> undoes = {});
  // undoes: AGAIN if somebody else has changed the file meanwhile.
  static void fillSetattr(schema::Command::Builder command, InodeId ino, const SetAttr& set,
                          bool openForWrite, const Caller& caller);
  Task<Outcome<FsStat>> statfsNow();
  Task<Outcome<Attr>> deliver(Attr attr, DataVersion version, uint64_t asked,
                              For purpose = For::STAT);
  // What the kernel is told: with what is only known here, and after old pages are gone. `asked`:
  // leasesDropped_ when it was sent. STALE: ask again, the lease went meanwhile; of a LISTING: not
  // without waiting.
  Task<Errno> dropBefore(kj::Own<File> file, const Attr& attr, DataVersion version, For purpose);

  // --- xattrs.cc
  Task<Errno> changeXattr(InodeId ino, Fill fill);
  Task<Outcome<kj::Array<kj::byte>>> getxattrNow(InodeId ino, std::string name);
  Task<Outcome<std::vector<std::string>>> listxattrNow(InodeId ino, bool trusted);
  Task<Errno> dropCapability(kj::Own<File> file, const LeaseUse& use);
  // As a local disk does it before a write, also of root.
  Task<Outcome<Acl>> accessAclOf(Attr attr);  // empty: it has none

  // --- lease.cc
  Task<Outcome<kj::Own<LeaseUse>>> exclusive(kj::Own<File> file, bool append = false);
  Task<void> awaitRest(kj::Own<LeaseUse> use, kj::Own<File> file, uint64_t request, int32_t tid);
  bool mayBeInCall(int32_t tid, uint64_t ranNs);
  // A thread that had run so long when its WRITE was answered: perhaps it has not gone on yet.
  Task<void> acquire(kj::Own<File> file);
  void install(File& file, schema::Grant::Reader grant, schema::Attr::Reader attr);
  Task<void> dropForRecall(kj::Own<File> file);
  Task<void> requestComes(kj::Own<File> file);
  // A READ or WRITE after this one was called.
  void wakeWaiters(File& file);
  Task<void> giveBack(kj::Own<File> file);
  Task<void> sayReleasing(kj::Own<File> file);
  Task<void> sendGranted(InodeId ino, uint64_t sequence);
  Task<void> sendRelease(InodeId ino, uint64_t sequence);
  void decline(InodeId ino, uint64_t sequence);
  void dropLease(File& file);
  Task<Errno> ensureRows(kj::Own<File> file, uint64_t first, uint64_t last);
  Task<void> tick();

  // --- file_read.cc
  Task<Outcome<kj::Array<kj::byte>>> readNow(kj::Own<File> file, uint64_t offset, uint32_t bytes);
  Task<Outcome<kj::Array<kj::byte>>> readSlices(std::vector<ReadSlice> slices, uint64_t viewMin);
  kj::Promise<kj::Own<RowsAnswer>> rowsOf(File& file, uint64_t first, uint64_t end);
  Task<void> sendRows(kj::Own<File> file, kj::Own<RowsBatch> batch);

  struct Asker {
    // For whom a file is changed.
    kj::Maybe<Caller> unprivileged;  // who may not keep set-id bits
    uint64_t onlyEra = 0;            // of the locks under which it was asked; 0: any
  };
  bool mayStill(const Asker& asker) { return asker.onlyEra == 0 || asker.onlyEra == names_.era(); }

  // --- file_write.cc
  struct Writing {
    kj::Own<File> file;
    uint64_t offset;
    kj::Array<kj::byte> data;
    WriteHow how;
    Asker asker;
    bool mayEarly;  // be answered before it is done
  };
  kj::Promise<Outcome<uint32_t>> startWrite(kj::Own<Writing> writing);
  Task<void> runWrite(kj::Own<Writing> writing, kj::Own<Reply> reply);
  Task<Outcome<uint32_t>> writeNow(Writing& writing, Request& request, Reply& reply);
  Task<Outcome<uint32_t>> writePieces(kj::Own<File> file, uint64_t offset,
                                      kj::ArrayPtr<const kj::byte> bytes, const LeaseUse& use);
  Task<Errno> killSetId(kj::Own<File> file, const Caller& by, const LeaseUse& use);
  bool roomFor(const File& file, uint64_t offset, uint64_t bytes);
  Task<Errno> writeBlock(kj::Own<File> file, uint64_t index, uint32_t from,
                         kj::ArrayPtr<const kj::byte> data, const LeaseUse& use);
  enum class Old { KEPT, CLEARED };  // what else the block holds
  Task<Errno> writeLocked(kj::Own<File> file, uint64_t index, uint32_t from,
                          kj::ArrayPtr<const kj::byte> data, const LeaseUse& use, Old old);
  // REQUIRES: the block's lock; its row is known.
  void noteWritten(File& file);
  Task<Errno> copyShared(kj::Own<File> file, FileRow old, BlockId to, const LeaseUse& use);
  FifoLock& blockLock(File& file, uint64_t index);
  Time nextMtime(const File& file);

  // --- file_space.cc
  using Range = std::pair<uint64_t, uint64_t>;  // [first, second)
  Task<Errno> fallocateNow(kj::Own<File> file, SpaceChange change, Range range, bool keepSize,
                           Asker asker);
  Task<Errno> punchNow(kj::Own<File> file, Range range, Asker asker);
  Task<Errno> punchRows(kj::Own<File> file, uint64_t first, uint64_t end, const LeaseUse& use);
  Task<Errno> zeroNow(kj::Own<File> file, Range range, Asker asker);
  Task<Errno> zeroPart(kj::Own<File> file, uint64_t index, uint32_t from, uint32_t to,
                       const LeaseUse& use);
  Task<Errno> zeroWhole(kj::Own<File> file, uint64_t index, const LeaseUse& use);
  Task<Errno> allocateNow(kj::Own<File> file, Range range, bool keepSize, Asker asker,
                          kj::Own<Growth> growth);
  Task<Errno> allocatePiece(kj::Own<File> file, Range range, bool keepSize, Asker asker,
                            kj::Own<Growth> growth);
  Task<Errno> allocateBlock(kj::Own<File> file, uint64_t index, uint32_t from, uint32_t to,
                            const LeaseUse& use);
  Task<Errno> killSetIdOf(kj::Own<File> file, const kj::Maybe<Caller>& unprivileged,
                          const LeaseUse& use);
  void noteApplied(File& file, Applied& applied);

  // --- file_seek.cc
  Task<Outcome<kj::Maybe<uint64_t>>> seekNow(kj::Own<File> file, uint64_t offset, bool data);
  Task<Outcome<kj::Maybe<uint64_t>>> seekOnce(kj::Own<File> file, uint64_t offset, bool data,
                                              bool* passesHole);
  Task<Outcome<kj::Maybe<uint64_t>>> seekRows(kj::Own<File> file, uint64_t offset, bool data,
                                              bool* passesHole);
  bool mayBeMapped(const File& file);

  // --- file_clone.cc
  struct BothLeases {
    kj::Own<LeaseUse> from, to;  // one and the same file: `from` alone
    bool good() const { return from->good() && (to.get() == nullptr || to->good()); }
  };
  struct Copy {
    kj::Own<File> from;
    uint64_t fromOffset;
    kj::Own<File> to;
    uint64_t toOffset;
    uint64_t bytes;
    Asker asker;
    bool durable;
  };
  Task<Outcome<BothLeases>> exclusiveBoth(kj::Own<File> from, kj::Own<File> to);
  Task<Outcome<uint64_t>> copyNow(kj::Own<Copy> copy);
  Task<Outcome<uint64_t>> copyBytes(Copy& copy, uint64_t bytes);
  Task<Outcome<uint64_t>> cloneNow(kj::Own<File> from, uint64_t fromOffset, kj::Own<File> to,
                                   uint64_t toOffset, uint64_t bytes, Asker asker);
  Task<Outcome<uint64_t>> cloneHeld(kj::Own<File> from, uint64_t fromOffset, kj::Own<File> to,
                                    uint64_t toOffset, uint64_t bytes, const BothLeases& leases);

  // --- file_sync.cc
  kj::Promise<Errno> publish(kj::Own<File> file);
  // All that was answered before it is synced and published (Y1, Y4). Does nothing without the
  // lease.
  Task<Errno> publishAnswered(kj::Own<File> file);
  Task<Errno> publishNow(kj::Own<File> file, bool lock);
  Task<Errno> syncStamps(kj::Own<File> file);
  Task<Errno> publishRows(kj::Own<File> file);
  void loseData(File& file, kj::StringPtr why, Errno err = Errno::IO);
  Task<Errno> fsyncNow(InodeId ino);
  Task<Errno> syncAllNow();

  // --- pages.cc
  bool hasEarly(InodeId ino);
  enum class Which { WRITES, SERVED, EARLY };
  static constexpr uint64_t kNoEnd = ~uint64_t(0);
  Task<void> requestsDone(kj::Own<File> file, Which which, uint64_t from = 0, uint64_t end = kNoEnd,
                          uint64_t before = kNoEnd);
  // Writes of that range that are not done now and came before that one; EARLY: and are answered; SERVED: and use the lease.
  void makeDropped(File& file, const Time& mtime, bool sizeUnsure);
  kj::Promise<void> dropPages(File& file);
  void dropRange(File& file, uint64_t from, uint64_t end);
  Task<void> dropNow(kj::Own<File> file, std::vector<std::pair<uint64_t, uint64_t>> ranges,
                     bool attributes);
  void notePages(File& file, const DataVersion& version);

  // --- told_size.cc
  bool mustTellGrowth(const File& file, uint64_t size) const;
  Task<Errno> tellGrowth(kj::Own<File> file, uint64_t size, DataVersion version, For purpose);
  // STALE: the file has changed meanwhile.
  Task<bool> toldByAnother(kj::Own<File> file, For purpose);
  // False: not yet, and nobody will read.
  Task<void> answersTaken(kj::Own<File> file);
  Task<Errno> storeEnd(kj::Own<File> file, uint64_t size);
  Task<Outcome<kj::Array<kj::byte>>> lastByte(kj::Own<File> file, uint64_t size);
  // STALE: the file has another size by now.
  Task<void> store(kj::Own<File> file, uint64_t offset, kj::Array<kj::byte> byte);
  void noteOwnEnd(File& file, uint64_t end);
  // The kernel makes the file so long itself when it has the answer.
  void noteOwnWrite(File& file, bool append, uint64_t kernelEnd);
  // Of a WRITE that the kernel takes to end at kernelEnd. REQUIRES: the lease is kept.
  void noteTold(File& file, uint64_t size, bool sure);

  Env& env_;
  const VfsOptions options_;
  kj::Maybe<KernelCaches&> kernel_;
  kj::Maybe<Callers&> callers_;

  InodeId root_ = kRootInode;
  InodeMap inodes_;
  std::map<InodeId, kj::Own<File>> files_;
  std::map<FileHandle, Handle> handles_;
  std::map<DirHandle, InodeId> directories_;
  uint64_t nextHandle_ = 1;
  std::map<int32_t, std::pair<InodeId, std::string>> lostCreates_;  // by thread (G8)
  std::set<InodeId> unpins_;
  bool unpinning_ = false;
  uint32_t endDrops_ = 0;  // of an ended session's pages (S3)
  Signal endDropped_;
  uint64_t leasesDropped_ = 0;
  bool detached_ = false;
  bool closing_ = false;

  NameClient names_;
  StorageClient storage_;
  WriteWindow window_;
  Accesses accesses_;
  Ranges ranges_;
  Locks locks_;
  kj::TaskSet tasks_;  // goes first: it works with all of the above
};

class Client::Counted {
 public:
  Counted(Client& client, const Attr& attr) : client_(client), ino_(attr.ino) {
    client.inodes_.count(attr.ino, attr.kind, attr.blockBytes);
  }
  ~Counted() noexcept(false) {
    if (!kept_) client_.forget(ino_, 1);
  }
  KJ_DISALLOW_COPY(Counted);
  void keep() { kept_ = true; }

 private:
  Client& client_;
  const InodeId ino_;
  bool kept_ = false;
};

class Client::Request {
 public:
  Request(Client& client, kj::Own<File> file, uint64_t offset, uint64_t bytes, bool write);
  ~Request() noexcept(false);
  KJ_DISALLOW_COPY(Request);
  uint64_t id() const { return id_; }
  void served() { file_->requests.at(id_).served = true; }
  void answeredEarly(uint64_t offset, uint64_t bytes);
  // REQUIRES: it lies there, which for an append may not be where the kernel took it to be.

 private:
  Client& client_;
  kj::Own<File> file_;
  uint64_t id_;
};

class Client::Reply : public kj::Refcounted {
 public:
  explicit Reply(kj::Own<kj::PromiseFulfiller<Outcome<uint32_t>>> to) : to_(kj::mv(to)) {}
  bool given() const { return given_; }
  void give(Outcome<uint32_t>&& result) {
    given_ = true;
    to_->fulfill(kj::mv(result));
  }
  void fail(kj::Exception&& e) {
    given_ = true;
    to_->reject(kj::mv(e));
  }

 private:
  kj::Own<kj::PromiseFulfiller<Outcome<uint32_t>>> to_;
  bool given_ = false;
};

}  // namespace dfs
