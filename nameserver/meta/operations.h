#pragma once
// One function for each kind of command. Each decides from the store and the command alone; each
// either refuses and has written nothing, or returns OK and has written all.
//
// Thread: the loop's. `out` holds what the answer carries beside the errno.

#include "nameserver/meta/context.h"

namespace dfs::meta {

// create.cc
Errno applyCreateCluster(Context& c, schema::CreateCluster::Reader r);
Errno applyCreate(Context& c, schema::Create::Reader r, Answer& out);
Inode whiteoutIn(Context& c, InodeId ino, const Inode& parent);
// What a rename leaves at the old name if asked to: a character device 0:0 of mode 0.
// link.cc
Errno applyLink(Context& c, schema::Link::Reader r, Answer& out);
// unlink.cc
Errno applyUnlink(Context& c, schema::Unlink::Reader r, Answer& out);
void dropName(Context& c, Inode& victim, Answer& out);
// The victim has lost one name (all, if a directory): links, ctime, and perhaps an orphan.
// rename.cc
Errno applyRename(Context& c, schema::Rename::Reader r, Answer& out);
// setattr.cc
Errno applySetattr(Context& c, schema::Setattr::Reader r, Answer& out);
// xattr.cc
Errno applySetxattr(Context& c, schema::Setxattr::Reader r, Answer& out);
// publish.cc
Errno applyPublish(Context& c, schema::Publish::Reader r, Answer& out);
struct IndexedRow {
  uint64_t index;
  RowRecord row;
};
std::vector<IndexedRow> rowsIn(Store& store, InodeId ino, uint64_t first, uint64_t end, size_t max);
// Of [first, end), in order, dead ones too.
bool deadRow(Store& store, const Inode& file, uint64_t index, const RowRecord& row);
void setWriteTimes(Inode& file, const Time& written);
// punch.cc
Errno applyPunch(Context& c, schema::Punch::Reader r, Answer& out);
// clone.cc
Errno applyClone(Context& c, schema::Clone::Reader r, Answer& out);
// reap.cc
void cutRows(Context& c, Inode& file, uint64_t size);
// Of a file that becomes shorter: ends and rows; the caller writes the inode.
Errno applyReap(Context& c, schema::Reap::Reader r);
Errno applyTrim(Context& c, schema::Trim::Reader r, Answer& out);
// orphan_blocks.cc
Errno applyReclaimed(Context& c, schema::Reclaimed::Reader r, Answer& out);
Errno applyDeleteOrphans(Context& c, capnp::List<uint64_t>::Reader blocks, Answer& out);
// sessions.cc
Errno applyStartSession(Context& c, schema::StartSession::Reader r);
Errno applyEndSession(Context& c, schema::EndSession::Reader r);
Errno applyForgetSession(Context& c, SessionId id, Answer& out);
// allot.cc
Errno applyAllot(Context& c, schema::Allot::Reader r, Answer& out);
Outcome<InodeId> checkInodeNumber(Context& c, InodeId wanted);
// The number that a new inode gets: `wanted`, or the next one if that is 0. INVAL: it was used, is
// another session's, or lies absurdly far above what was handed out.
void useInodeNumber(Store& store, InodeId ino);
// REQUIRES: checkInodeNumber gave it, nothing came between.
// cluster_view.cc
Errno applyPutNode(Context& c, schema::Node::Reader r, Answer& out);
Errno applyPutChains(Context& c, schema::PutChains::Reader r);

}  // namespace dfs::meta
