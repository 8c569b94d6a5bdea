#include "nameserver/raft/vote_file.h"

#include "common/checksum.h"

#include <kj/debug.h>

#include <cstring>

namespace dfs {
namespace {

constexpr kj::StringPtr kName = "vote"_kj;
constexpr uint64_t kMagic = 0x31544f5653464421;
constexpr size_t kCopy = 512;
constexpr size_t kSlot = 4096;  // copies at 0 and 512 of it
constexpr size_t kFields = 5;

Bytes bytesOf(const uint64_t* words, size_t count) {
  // The machine's order: x86-64 and arm64 are little-endian, and what writes this file reads it.
  return Bytes(reinterpret_cast<const kj::byte*>(words), count * 8);
}
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

}  // namespace

Task<void> VoteFile::create(Disk& disk, Vote vote) {
  auto opened = co_await disk.open(kName, OpenMode::CREATE_NEW);
  KJ_REQUIRE(opened.ok(), "cannot make the file of term and vote", nameOf(opened.err()));
  VoteFile made(kj::mv(*opened));
  made.vote_ = vote;
  co_await made.writeSlot(1);
  co_await made.writeSlot(2);
}

Task<kj::Maybe<kj::Own<VoteFile>>> VoteFile::open(Disk& disk) {
  auto opened = co_await disk.open(kName, OpenMode::MUST_EXIST);
  if (!opened.ok()) {
    KJ_REQUIRE(opened.err() == Errno::NO_ENT, "cannot open the file of term and vote",
               nameOf(opened.err()));
    co_return kj::Maybe<kj::Own<VoteFile>>(nullptr);
  }
  auto file = kj::heap<VoteFile>(kj::mv(*opened));
  auto bytes = kj::heapArray<kj::byte>(2 * kSlot);
  memset(bytes.begin(), 0, bytes.size());
  auto got = co_await file->file_->read(0, bytes);
  KJ_REQUIRE(got.ok(), "cannot read the file of term and vote", nameOf(got.err()));
  for (size_t slot = 0; slot < 2; ++slot) {
    bool good = false;
    for (size_t copy = 0; copy < 2; ++copy) {
      uint64_t words[kFields + 1];
      memcpy(words, bytes.begin() + slot * kSlot + copy * kCopy, sizeof words);
      bool ours = words[0] == kMagic && checksum(bytesOf(words, kFields)) == words[kFields];
      if (!ours) continue;
      good = true;
      if (words[1] > file->sequence_) {
        file->sequence_ = words[1];
        file->vote_ = {words[2], words[3], words[4]};
      }
    }
    KJ_REQUIRE(good,
               "the file of term and vote is damaged: neither copy of a slot is whole, and what it "
               "said is not known. Nothing was changed",
               kName, "offset", slot * kSlot);
  }
  co_return kj::Maybe<kj::Own<VoteFile>>(kj::mv(file));
}

Task<void> VoteFile::write(uint64_t term, uint64_t votedFor) {
  KJ_ASSERT(term >= vote_.term, "a term never goes back", term, vote_.term);
  vote_.term = term;
  vote_.votedFor = votedFor;
  co_await writeSlot(sequence_ + 1);
}

Task<void> VoteFile::settle() {
  co_await writeSlot(sequence_);
}

Task<void> VoteFile::writeSlot(uint64_t sequence) {
  uint64_t words[kFields + 1] = {kMagic, sequence, vote_.server, vote_.term, vote_.votedFor, 0};
  words[kFields] = checksum(bytesOf(words, kFields));
  auto bytes = kj::heapArray<kj::byte>(2 * kCopy);
  memset(bytes.begin(), 0, bytes.size());
  memcpy(bytes.begin(), words, sizeof words);
  memcpy(bytes.begin() + kCopy, words, sizeof words);
  auto wrote = co_await file_->write(sequence % 2 * kSlot, bytes);
  KJ_REQUIRE(wrote == Errno::OK, "cannot write term and vote", nameOf(wrote));
  auto synced = co_await file_->sync();
  KJ_REQUIRE(synced == Errno::OK, "cannot sync term and vote", nameOf(synced));
  sequence_ = sequence;
}

}  // namespace dfs
