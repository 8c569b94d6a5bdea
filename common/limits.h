#pragma once
// Every bound of the system. Whoever adds a queue, a retry, a loop over input or a map that grows
// with requests names its bound here.

#include <cstddef>
#include <cstdint>

namespace dfs {

// Names and files (POSIX).
inline constexpr size_t kNameBytesMax = 255;
inline constexpr size_t kTargetBytesMax = 4095;
inline constexpr uint64_t kFileBytesMax = (uint64_t(1) << 62);
inline constexpr uint32_t kLinksMax = 65000;
inline constexpr size_t kGroupsMax = 65536;

// Extended attributes. The first three are Linux's own.
inline constexpr size_t kXattrNameBytesMax = 255;
inline constexpr size_t kXattrValueBytesMax = 64u << 10;
inline constexpr size_t kXattrListBytesMax = 64u << 10;  // of one inode, each name with a NUL
inline constexpr size_t kXattrBytesMax = 1u << 20;       // likewise, names and values
static_assert(kXattrBytesMax >= kXattrValueBytesMax + kXattrListBytesMax);

// Blocks.
inline constexpr uint32_t kBlockBytes = 4u << 20;  // default size of a file's blocks
inline constexpr uint32_t kUnitBytes = 4096;       // what one checksum covers
inline constexpr uint32_t kUnitsPerGroup = 16;     // sums are stored in groups of this many units
inline constexpr uint32_t kWriteBytesMax = 1u << 20;
inline constexpr uint32_t kReadBytesMax = 1u << 20;
inline constexpr uint32_t kReadAheadBytes = 4 * kReadBytesMax;  // of the kernel, for one open file
static_assert(kBlockBytes % kWriteBytesMax == 0);
static_assert(kWriteBytesMax % (kUnitBytes * kUnitsPerGroup) == 0);

// Messages.
inline constexpr size_t kFrameBytesMax = 2u << 20;
inline constexpr uint32_t kFrameSegmentsMax = 64;
static_assert(kFrameBytesMax >= kWriteBytesMax + (64u << 10));

// The name server's log.
inline constexpr size_t kEntryBytesMax = 256u << 10;
static_assert(kEntryBytesMax >= kXattrValueBytesMax + 16384);
inline constexpr uint32_t kUncommittedEntriesMax = 48;
inline constexpr uint32_t kProposalsWaitingMax = 65536;

// Sessions.
inline constexpr uint32_t kAnswerWindow = 1024;  // stored answers a session; requests in flight
inline constexpr uint32_t kBlockWindow = 1024;   // the same for block requests (C6)
inline constexpr uint32_t kSessionsMax = 65536;
inline constexpr uint32_t kClaimsPerCallMax = 4096;
inline constexpr uint32_t kCallsPerSessionMax = 2048;

// File locks.
inline constexpr uint32_t kLocksPerSessionMax = 65536;      // ranges
inline constexpr uint32_t kLockCallsPerSessionMax = 16384;  // that wait; more are asked for again
inline constexpr uint64_t kLockFairMs = 5'000;
// So long at most somebody waits only because others have waited for longer: whoever holds a lock
// may be waiting for a helper who needs the same, and would wait for ever.
inline constexpr uint64_t kLockCancelMs = 500;
// So long a program that was interrupted waits to hear whether it has got its lock after all.

// What a mount does at once.
inline constexpr uint64_t kCopyBytesMax = 16u << 20;
// copied by the mount itself in one call of copy_file_range
inline constexpr uint64_t kCloneBytesMin = 256u << 10;  // less is copied rather than shared
inline constexpr uint32_t kAccessesAtOnce = 32;         // times of access on their way
inline constexpr size_t kAccessesWaitingMax = 65536;    // inodes whose times wait to be told

// Answers.
inline constexpr uint32_t kRowsPerAnswerMax = 1024;
inline constexpr uint32_t kRowsPerPublishMax = 4096;
inline constexpr uint32_t kRowsPerTrim = 4096;  // extended attributes count as rows
inline constexpr uint32_t kDirEntriesPerAnswerMax = 1024;
inline constexpr uint32_t kInodesPerReapMax = 512;
inline constexpr uint32_t kBlocksPerReclaimMax = 4096;
inline constexpr uint32_t kInventoryBlocksMax = 4096;

// Chains.
inline constexpr uint32_t kChainsPerNode = 100;  // for each replica count (N5)
inline constexpr uint32_t kReplicasMax = 7;
inline constexpr uint32_t kNodesMax = 4096;

inline constexpr size_t kForwardEarlyBytes =
    64u << 10;  // updates of so much are forwarded while they are applied

// Memory that waits.
inline constexpr size_t kAdmissionBytesMax = 256u << 20;  // client writes held by one daemon
inline constexpr uint32_t kAdmissionWaitersMax = 4096;

inline constexpr uint64_t kEarlyBytesMax =
    8u << 20;  // a mount's writes that are answered before they are done
inline constexpr uint32_t kEarlyWritesMax = 256;
inline constexpr uint64_t kRoomyForMs =
    2'000;  // how long a client goes by a daemon's word that it has room

inline constexpr uint64_t kRoomyBytes = uint64_t(4) << 30;
// Free above the reserve: writes need no step of their own to reserve space (C8), and clients may answer
// them early.
static_assert(kRoomyBytes >= 4 * kAdmissionBytesMax);
inline constexpr uint32_t kResyncChainsAtOnce = 4;
inline constexpr uint32_t kResyncBlocksAtOnce = 4;  // of one chain, each with one piece in flight

// Times, in milliseconds. T1 to T4: a client counts its lease from when it sent the renewal and
// takes off drift and a margin; the name server adds drift.
inline constexpr uint64_t kSessionLeaseMs = 10'000;
inline constexpr uint64_t kSessionRenewMs = kSessionLeaseMs / 3;
inline constexpr uint64_t kLeaseMarginMs = 200;
inline constexpr uint64_t kDriftPerMille = 1;
inline constexpr uint64_t kSessionIdleEndMs =
    3'600'000;  // a silent session that holds up nobody (S2)
inline constexpr uint64_t kBeatMs = 200;
inline constexpr uint64_t kNodeSilentMs = 3'000;  // then it leaves its chains
inline constexpr uint64_t kNodeLeaseMs =
    2'000;  // a daemon stops serving this long after a beat sent
static_assert(kNodeLeaseMs * (1000 + kDriftPerMille) / 1000 + kLeaseMarginMs < kNodeSilentMs);
inline constexpr uint64_t kViewWaitMs = 2'000;     // a daemon that is behind waits for the view
inline constexpr uint64_t kForwardTryMs = 10'000;  // then an update is sent to the successor again
inline constexpr uint64_t kFetchTryMs = 2'000;     // a piece of another member's copy
inline constexpr uint64_t kSpaceSettleMs =
    3'000;  // after a start room is told without the silent ones from then
inline constexpr uint64_t kNodesSettleMs = 15'000;  // silence counts from then after a start (C5)
inline constexpr uint64_t kReclaimGraceMs = 10'000;
inline constexpr uint64_t kPublishAfterMs =
    5'000;  // unsynced data is synced and published by then (Y4)
inline constexpr uint64_t kRecallSignMs = 1'000;  // a client at work on a recall says so this often
inline constexpr uint64_t kRangesKeptMs = 3'600'000;  // of an ended session (R3)

}  // namespace dfs
