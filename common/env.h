#pragma once
// Everything from which chance comes: clock, random numbers, network, disk. Handed to the
// composition root of each process (Server, Mount) and passed on from there; nothing else in the
// project asks the host. real_env.h is the host's; tests/sim has a whole world of them in virtual
// time.
//
// Thread: the loop's. Owner: main(); outlives everything.

#include "common/ids.h"
#include "common/kv.h"
#include "common/outcome.h"

#include <kj/async-io.h>
#include <kj/string.h>
#include <kj/time.h>
#include <kj/timer.h>

namespace dfs {

class Clock {
 public:
  virtual kj::Timer& timer() = 0;
  // For waiting. Stops while the machine sleeps, so it decides nothing about leases.
  virtual uint64_t bootMs() = 0;
  // CLOCK_BOOTTIME in milliseconds: what lease arithmetic reads (T1).
  virtual Time wallTime() = 0;
  // For attributes and logs.
};

class Random {
 public:
  virtual uint64_t next() = 0;  // uniform
  uint64_t below(uint64_t bound) { return next() % bound; }
};

class Listener {
 public:
  virtual ~Listener() noexcept(false) {}
  virtual kj::Promise<kj::Own<kj::AsyncIoStream>> accept() = 0;
  virtual kj::StringPtr address() = 0;
  // As peers write it, with the port that was chosen if 0 was asked for.
};

class Network {
  // Addresses: "HOST:PORT" or "unix:/path".
 public:
  virtual kj::Promise<kj::Own<kj::AsyncIoStream>> connect(kj::StringPtr address) = 0;
  // Throws DISCONNECTED if nobody answers. REQUIRES: `address` may go after the call.
  virtual kj::Promise<kj::Own<Listener>> listen(kj::StringPtr address) = 0;
};

struct SpaceInfo {
  uint64_t totalBytes;
  uint64_t freeBytes;  // for us: without what the file system keeps for root
};

class DiskFile {
  // An open file. Calls may overlap; those on the same bytes must not. Whoever closes it (drops it)
  // waits for its calls first. Buffers belong to the caller and must live until the promise has
  // resolved or has been dropped (an implementation that works on threads copies or keeps what it
  // needs beyond that).
 public:
  virtual ~DiskFile() noexcept(false) {}
  virtual kj::Promise<Outcome<size_t>> read(uint64_t offset, kj::ArrayPtr<kj::byte> into) = 0;
  // Less than asked for only at the end of the file. Err: IO.
  virtual kj::Promise<Errno> write(uint64_t offset, Bytes data) = 0;
  // All or NO_SPACE (some may have been written) or IO.
  virtual kj::Promise<Errno> sync() = 0;
  // fdatasync: what was written before the call is on the disk, and the size. After IO nothing is
  // known of what was written since the last sync, and asking again proves nothing: the store goes
  // out of service.
  virtual kj::Promise<Errno> allocate(uint64_t offset, uint64_t bytes) = 0;
  // Reserves space, so that later writes there do not meet NO_SPACE; extends the file.
  virtual kj::Promise<Errno> punch(uint64_t offset, uint64_t bytes) = 0;
  // Gives the space back; reads there give zeros.
  virtual kj::Promise<Errno> truncate(uint64_t bytes) = 0;
  virtual uint64_t size() = 0;
  virtual kj::Promise<Errno> writeLarge(uint64_t offset, Bytes data) { return write(offset, data); }
  // The same for what will be synced soon and is not read again at once: the disk is at work on it
  // when this resolves, or has it, and the page cache is left to others where that can be done
  // (offset and size are multiples of kUnitBytes).
  virtual kj::Promise<Outcome<size_t>> readLarge(uint64_t offset, kj::ArrayPtr<kj::byte> into) {
    return read(offset, into);
  }
  // The same for what will hardly be read again soon: past the page cache, where offset, size and
  // the address (alignedBytes()) allow that.
};

class SinceCell {
  // A few bytes that survive the process but not the machine's memory (Y8): a file on tmpfs,
  // mapped.
 public:
  virtual ~SinceCell() noexcept(false) {}
  virtual uint64_t since() = 0;            // 0: there was no cell
  virtual uint64_t sequence() = 0;         // of the last applied intent, as it was set last
  virtual void reset(uint64_t since) = 0;  // a new number, sequence 0
  virtual void setSequence(uint64_t sequence) = 0;  // a store into memory, no system call
  virtual void forget() = 0;                        // removed: the next start makes a new number
};

enum class OpenMode { MUST_EXIST, CREATE, CREATE_NEW };

class Disk {
  // The files below one directory, which is the process's data directory. Names are relative, with
  // '/' between levels. Errors that are not listed throw.
 public:
  virtual kj::Promise<Outcome<kj::Own<DiskFile>>> open(kj::StringPtr name, OpenMode mode) = 0;
  // NO_ENT, EXIST, NO_SPACE. A new file is durable after syncDirectory().
  virtual kj::Promise<Errno> makeDirectory(kj::StringPtr name) = 0;  // OK if it is there
  virtual kj::Promise<Outcome<kj::Array<kj::String>>> list(kj::StringPtr directory) = 0;
  // Names in it, sorted, without '.' and '..'. "" is the root. NO_ENT.
  virtual kj::Promise<Errno> remove(kj::StringPtr name) = 0;  // NO_ENT
  virtual kj::Promise<Errno> rename(kj::StringPtr from, kj::StringPtr to) = 0;
  virtual kj::Promise<Errno> syncDirectory(kj::StringPtr directory) = 0;
  virtual Outcome<SpaceInfo> space() = 0;
  virtual kj::Promise<kj::Own<Kv>> openKv(kj::StringPtr directory) = 0;
  // Opens or makes the store in that directory. Throws with a sentence if it cannot be.
  virtual kj::Own<SinceCell> sinceCell(const Uuid& store) = 0;
};

struct Env {
  Clock& clock;
  Random& random;
  Network& network;
  Disk& disk;
};

}  // namespace dfs
