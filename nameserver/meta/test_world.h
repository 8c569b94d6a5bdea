#pragma once
// For tests: a store with a cluster in it, and commands as calls. Every refusal is seen to change
// nothing; with `twin` on every entry is applied to a second store as well.

#include "common/limits.h"
#include "nameserver/meta/queries.h"
#include "nameserver/meta/state_machine.h"
#include "nameserver/meta/test_kv.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dfs {

inline Bytes bytesOf(const char* text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text), strlen(text));
}
inline Bytes bytesOf(const std::string& text) {
  return Bytes(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

struct Result {
  Errno err = Errno::IO;
  uint64_t ino = 0;
  uint64_t firstInode = 0;
  uint32_t links = 0;
  uint64_t count = 0;
  std::vector<uint64_t> firsts;  // of ranges
  bool operator==(const Result&) const = default;
};

struct TestWorld {
  static constexpr uint32_t kTestBlockBytes = 4096;
  static constexpr uint64_t kRoot = 1;

  TestKv kv;
  TestKv twinKv;
  StateMachine machine{kv};
  StateMachine twin{twinKv};
  Queries q{kv};
  uint64_t index = 0;
  Time now{1'000'000, 0};
  uint64_t client = 0;  // of the next commands; 0: the name server's own
  uint64_t sequence = 0;
  uint64_t acked = 0;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  uint32_t umask = 0;

  bool watch = true;  // compare the store before and after each refusal (slow if it is large)

  explicit TestWorld(bool cluster = true) {
    if (cluster) EXPECT_EQ(createCluster().err, Errno::OK);
  }

  template <typename Fill> kj::Own<capnp::MallocMessageBuilder> command(Fill&& fill) {
    auto message = kj::heap<capnp::MallocMessageBuilder>();
    auto entry = message->initRoot<schema::Entry>();
    auto c = entry.initCommands(1)[0];
    c.initRequest().setClient(client);
    if (client != 0) c.getRequest().setSequence(++sequence);
    c.setAckedUpTo(acked);
    auto creds = c.initCredentials();
    creds.setUid(uid);
    creds.setGid(gid);
    auto list = creds.initGroups(static_cast<uint32_t>(groups.size()));
    for (uint32_t i = 0; i < groups.size(); ++i) list.set(i, groups[i]);
    toWire(now, c.initTime());
    fill(c.initDo());
    return message;
  }

  Result apply(capnp::MallocMessageBuilder& message) {
    auto before = watch ? kv.digest(false) : 0;
    Result result;
    index += 1;
    auto entry = message.getRoot<schema::Entry>().asReader();
    machine.apply(index, 1, entry, [&](uint32_t, schema::Outcome::Reader o) {
      result = Result{o.getErr(), o.getIno(), o.getFirstInode(), o.getLinks(), o.getCount(), {}};
      for (auto range : o.getRanges()) {
        result.firsts.push_back(BlockId(ChainId(range.getChain()), range.getFirst()).value);
      }
    });
    twin.apply(index, 1, entry, [](uint32_t, schema::Outcome::Reader) {});
    if (watch && result.err != Errno::OK) {
      EXPECT_EQ(before, kv.digest(false))
          << "a refusal changed the store: " << nameOf(result.err).cStr();
    }
    now.nsec += 1000;
    return result;
  }
  template <typename Fill> Result run(Fill&& fill) { return apply(*command(fill)); }

  Result createCluster() {
    return run([](auto d) {
      auto c = d.initCreateCluster();
      toWire(Uuid{1, 2}, c.initUuid());
      c.setRootMode(0755);
      c.setBlockBytes(kTestBlockBytes);
    });
  }
  Result create(uint64_t parent, const std::string& name, schema::Kind kind = schema::Kind::FILE,
                uint32_t mode = 0644, uint64_t ino = 0, const std::string& target = "t") {
    return run([&](auto d) {
      auto c = d.initCreate();
      c.setParent(parent);
      c.setName(bytesOf(name));
      c.setKind(kind);
      c.setMode(mode);
      c.setUmask(umask);
      c.setIno(ino);
      if (kind == schema::Kind::SYMLINK) c.setTarget(bytesOf(target));
    });
  }
  Result mkdir(uint64_t parent, const std::string& name, uint32_t mode = 0755) {
    return create(parent, name, schema::Kind::DIRECTORY, mode);
  }
  Result link(uint64_t ino, uint64_t parent, const std::string& name) {
    return run([&](auto d) {
      auto c = d.initLink();
      c.setIno(ino);
      c.setParent(parent);
      c.setName(bytesOf(name));
    });
  }
  Result unlink(uint64_t parent, const std::string& name, bool directory = false) {
    return run([&](auto d) {
      auto c = d.initUnlink();
      c.setParent(parent);
      c.setName(bytesOf(name));
      c.setDirectory(directory);
    });
  }
  Result rmdir(uint64_t parent, const std::string& name) { return unlink(parent, name, true); }
  Result rename(uint64_t from, const std::string& fromName, uint64_t to, const std::string& toName,
                bool noReplace = false, bool exchange = false) {
    return run([&](auto d) {
      auto c = d.initRename();
      c.setFromParent(from);
      c.setFromName(bytesOf(fromName));
      c.setToParent(to);
      c.setToName(bytesOf(toName));
      c.setNoReplace(noReplace);
      c.setExchange(exchange);
    });
  }
  template <typename Fill> Result setattr(uint64_t ino, Fill&& fill) {
    return run([&](auto d) {
      auto c = d.initSetattr();
      c.setIno(ino);
      fill(c);
    });
  }
  Result chmod(uint64_t ino, uint32_t mode) {
    return setattr(ino, [&](schema::Setattr::Builder c) {
      c.getSet().setMode(true);
      c.setMode(mode);
    });
  }
  Result chown(uint64_t ino, int64_t toUid, int64_t toGid) {
    return setattr(ino, [&](schema::Setattr::Builder c) {
      c.getSet().setUid(toUid >= 0);
      c.getSet().setGid(toGid >= 0);
      c.setUid(static_cast<uint32_t>(toUid));
      c.setGid(static_cast<uint32_t>(toGid));
    });
  }
  Result truncate(uint64_t ino, uint64_t size, bool openForWrite = false) {
    return setattr(ino, [&](schema::Setattr::Builder c) {
      c.getSet().setSize(true);
      c.setSize(size);
      c.setOpenForWrite(openForWrite);
    });
  }
  enum class Xattr { SET, CREATE, REPLACE, REMOVE };
  Result xattr(uint64_t ino, const std::string& name, const std::string& value,
               Xattr how = Xattr::SET) {
    return run([&](auto d) {
      auto c = d.initSetxattr();
      c.setIno(ino);
      c.setName(bytesOf(name));
      c.setValue(bytesOf(value));
      c.setCreate(how == Xattr::CREATE);
      c.setReplace(how == Xattr::REPLACE);
      c.setRemove(how == Xattr::REMOVE);
    });
  }
  Result removexattr(uint64_t ino, const std::string& name) {
    return xattr(ino, name, "", Xattr::REMOVE);
  }
  std::string xattrOf(uint64_t ino, const std::string& name) {
    auto value = q.getxattr(InodeId(ino), name);
    return value.ok() ? *value : nameOf(value.err()).cStr();
  }
  Result publish(uint64_t ino, uint64_t size, const std::vector<RowInfo>& rows,
                 Time mtime = {2'000'000, 0}) {
    return run([&](auto d) {
      auto c = d.initPublish();
      c.setIno(ino);
      c.setSize(size);
      auto list = c.initRows(static_cast<uint32_t>(rows.size()));
      for (uint32_t i = 0; i < rows.size(); ++i) toWire(rows[i], list[i]);
      toWire(mtime, c.initMtime());
      c.setSetMtime(true);
    });
  }
  Result punch(uint64_t ino, uint64_t first, uint64_t end, Time mtime = {2'000'000, 0}) {
    return run([&](auto d) {
      auto c = d.initPunch();
      c.setIno(ino);
      c.setFirst(first);
      c.setEnd(end);
      toWire(mtime, c.initMtime());
    });
  }
  Result clone(uint64_t from, uint64_t fromFirst, uint64_t count, uint64_t to, uint64_t toFirst,
               uint64_t size, bool killSetId = false) {
    return run([&](auto d) {
      auto c = d.initClone();
      c.setFrom(from);
      c.setFromFirst(fromFirst);
      c.setCount(count);
      c.setTo(to);
      c.setToFirst(toFirst);
      c.setSize(size);
      c.setKillSetId(killSetId);
      toWire(Time{2'000'000, 0}, c.initMtime());
    });
  }
  Result reap(uint64_t ino) {
    return run([&](auto d) { d.initReap().initInos(1).set(0, ino); });
  }
  Result trim(uint64_t ino, uint32_t rowsMax = 0) {
    return run([&](auto d) {
      auto c = d.initTrim();
      c.setIno(ino);
      c.setRowsMax(rowsMax);
    });
  }
  Result blocksCommand(const std::vector<uint64_t>& blocks, bool deleteOrphans) {
    return run([&](auto d) {
      auto size = static_cast<uint32_t>(blocks.size());
      auto list = deleteOrphans ? d.initDeleteOrphans(size) : d.initReclaimed().initBlocks(size);
      for (uint32_t i = 0; i < size; ++i) list.set(i, blocks[i]);
    });
  }
  Result startSession(uint64_t id) {
    return run([&](auto d) {
      auto c = d.initStartSession();
      c.setId(id);
      c.setHost("h");
    });
  }
  Result endSession(uint64_t id) {
    return run([&](auto d) { d.initEndSession().setId(id); });
  }
  Result forgetSession(uint64_t id) {
    return run([&](auto d) { d.setForgetSession(id); });
  }
  Result allot(uint64_t session, uint32_t inodes, uint32_t chain = 0, uint32_t blocks = 0) {
    return run([&](auto d) {
      auto c = d.initAllot();
      c.setSession(session);
      c.setInodes(inodes);
      if (blocks == 0) return;
      auto want = c.initBlocks(1)[0];
      want.setChain(chain);
      want.setCount(blocks);
    });
  }
  Result putNode(uint32_t id, Uuid uuid) {
    return run([&](auto d) {
      auto n = d.initPutNode();
      n.setId(id);
      toWire(uuid, n.initUuid());
      n.initAddresses(1).set(0, "a:1");
    });
  }
  Result putChain(uint32_t id, uint64_t epoch, uint32_t node = 1) {
    return run([&](auto d) {
      auto c = d.initPutChains().initChains(1)[0];
      c.setId(id);
      c.setEpoch(epoch);
      c.setReplicas(1);
      c.initMembers(1)[0].setNode(node);
    });
  }
  void storage() {
    // One node, chain 7, session 100.
    EXPECT_EQ(putNode(0, Uuid{5, 5}).ino, 1u);
    EXPECT_EQ(putChain(7, 1).err, Errno::OK);
    EXPECT_EQ(startSession(100).err, Errno::OK);
  }

  InodeAttr attr(uint64_t ino) {
    auto a = q.getattr(InodeId(ino));
    EXPECT_TRUE(a.ok()) << ino;
    return a.ok() ? *a : InodeAttr();
  }
  uint64_t at(uint64_t parent, const std::string& name) {
    auto entry = q.lookup(InodeId(parent), bytesOf(name));
    return entry.ok() ? entry->ino.value : 0;
  }
  std::string problems() {
    std::string all;
    std::string cursor;
    do {
      auto step = check(kv, bytesOf(cursor));
      for (auto& p : step.problems) all += p.text + "\n";
      cursor = step.next;
    } while (!cursor.empty());
    if (kv.digest() != twinKv.digest()) all += "the twin differs\n";
    return all;
  }
};

}  // namespace dfs
