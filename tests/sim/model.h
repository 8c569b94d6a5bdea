#pragma once
// What POSIX says a tree of files must look like after a sequence of operations by a privileged
// caller. Operations answer the Errno that the file system must answer.
//
// Thread: any. Owner: a workload.

#include "common/outcome.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dfs {

struct ModelNode {
  schema::Kind kind = schema::Kind::FILE;
  uint32_t mode = 0;
  uint32_t nlink = 1;
  bool unnamed = false;  // it never had a name, and may still get one
  std::string bytes;   // of a file
  std::string target;  // of a symlink
  std::map<std::string, std::string> xattrs;
  std::map<std::string, std::shared_ptr<ModelNode>> entries;
  ModelNode* parent = nullptr;  // of a directory

  bool directory() const { return kind == schema::Kind::DIRECTORY; }
  uint64_t size() const { return kind == schema::Kind::SYMLINK ? target.size() : bytes.size(); }
};
using ModelRef = std::shared_ptr<ModelNode>;

class Model {
 public:
  Model();
  ModelRef root() { return root_; }

  Errno make(ModelRef parent, const std::string& name, schema::Kind kind, uint32_t mode,
             const std::string& target);
  static ModelRef makeUnnamed(uint32_t mode);
  Errno link(ModelRef node, ModelRef parent, const std::string& name);
  Errno unlink(ModelRef parent, const std::string& name);
  Errno rmdir(ModelRef parent, const std::string& name);
  Errno rename(ModelRef from, const std::string& fromName, ModelRef to, const std::string& toName,
               uint32_t flags);
  static void write(ModelNode& file, uint64_t offset, const std::string& data);

  std::vector<std::vector<std::string>> directories() const;  // their paths, the root's first

 private:
  static bool within(ModelNode* inner, ModelNode* outer);
  static ModelRef find(const ModelRef& parent, const std::string& name);
  static void detach(ModelNode& parent, const std::string& name);
  static void attach(const ModelRef& parent, const std::string& name, ModelRef node);

  ModelRef root_;
};

}  // namespace dfs
