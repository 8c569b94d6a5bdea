#include "tests/sim/model.h"

namespace dfs {

Model::Model() : root_(std::make_shared<ModelNode>()) {
  root_->kind = schema::Kind::DIRECTORY;
  root_->mode = 0755;
  root_->nlink = 2;
}

ModelRef Model::find(const ModelRef& parent, const std::string& name) {
  auto found = parent->entries.find(name);
  return found == parent->entries.end() ? nullptr : found->second;
}

bool Model::within(ModelNode* inner, ModelNode* outer) {
  for (; inner != nullptr; inner = inner->parent) {
    if (inner == outer) return true;
  }
  return false;
}

void Model::detach(ModelNode& parent, const std::string& name) {
  auto node = parent.entries[name];
  parent.entries.erase(name);
  if (node->directory()) {
    --parent.nlink;
    node->parent = nullptr;
  }
}

void Model::attach(const ModelRef& parent, const std::string& name, ModelRef node) {
  if (node->directory()) {
    ++parent->nlink;
    node->parent = parent.get();
  }
  parent->entries[name] = kj::mv(node);
}

Errno Model::make(ModelRef parent, const std::string& name, schema::Kind kind, uint32_t mode,
                  const std::string& target) {
  if (find(parent, name)) return Errno::EXIST;
  auto node = std::make_shared<ModelNode>();
  node->kind = kind;
  node->mode = mode;
  node->target = target;
  node->nlink = node->directory() ? 2 : 1;
  attach(parent, name, node);
  return Errno::OK;
}

ModelRef Model::makeUnnamed(uint32_t mode) {
  auto node = std::make_shared<ModelNode>();
  node->mode = mode;
  node->nlink = 0;
  node->unnamed = true;
  return node;
}

Errno Model::link(ModelRef node, ModelRef parent, const std::string& name) {
  if (find(parent, name)) return Errno::EXIST;
  ++node->nlink;
  node->unnamed = false;
  attach(parent, name, node);
  return Errno::OK;
}

Errno Model::unlink(ModelRef parent, const std::string& name) {
  auto node = find(parent, name);
  if (!node) return Errno::NO_ENT;
  if (node->directory()) return Errno::IS_DIR;
  --node->nlink;
  detach(*parent, name);
  return Errno::OK;
}

Errno Model::rmdir(ModelRef parent, const std::string& name) {
  auto node = find(parent, name);
  if (!node) return Errno::NO_ENT;
  if (!node->directory()) return Errno::NOT_DIR;
  if (!node->entries.empty()) return Errno::NOT_EMPTY;
  detach(*parent, name);
  node->nlink = 0;
  return Errno::OK;
}

Errno Model::rename(ModelRef from, const std::string& fromName, ModelRef to,
                    const std::string& toName, uint32_t flags) {
  auto node = find(from, fromName);
  auto victim = find(to, toName);
  bool noReplace = flags == 1, exchange = flags == 2;
  if (!node) return Errno::NO_ENT;
  if (exchange && !victim) return Errno::NO_ENT;
  if (noReplace && victim) return Errno::EXIST;
  if (node->directory() && within(to.get(), node.get())) return Errno::INVAL;
  if (victim && victim->directory() && within(from.get(), victim.get())) {
    return exchange ? Errno::INVAL : Errno::NOT_EMPTY;
  }
  if (node == victim) return Errno::OK;
  if (exchange) {
    detach(*from, fromName);
    detach(*to, toName);
    attach(to, toName, node);
    attach(from, fromName, victim);
    return Errno::OK;
  }
  if (victim) {
    if (node->directory() && !victim->directory()) return Errno::NOT_DIR;
    if (!node->directory() && victim->directory()) return Errno::IS_DIR;
    auto err = victim->directory() ? rmdir(to, toName) : unlink(to, toName);
    if (err != Errno::OK) return err;
  }
  detach(*from, fromName);
  attach(to, toName, node);
  return Errno::OK;
}

void Model::write(ModelNode& file, uint64_t offset, const std::string& data) {
  if (data.empty()) return;
  if (file.bytes.size() < offset + data.size()) file.bytes.resize(offset + data.size(), '\0');
  file.bytes.replace(offset, data.size(), data);
}

std::vector<std::vector<std::string>> Model::directories() const {
  std::vector<std::vector<std::string>> all = {{}};
  std::vector<ModelRef> nodes = {root_};
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (auto& [name, node] : nodes[i]->entries) {
      if (!node->directory()) continue;
      auto path = all[i];
      path.push_back(name);
      all.push_back(path);
      nodes.push_back(node);
    }
  }
  return all;
}

}  // namespace dfs
