#include "common/mount_note.h"

#include <sys/stat.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace dfs {
namespace {

namespace fs = std::filesystem;

std::string ownDirectory() {
  if (geteuid() == 0) return "/run/dfs/mounts";
  return "/tmp/dfs-mounts-" + std::to_string(geteuid());
}

std::string fileOf(const std::string& directory, uint64_t device) {
  return directory + "/" + std::to_string(device) + ".json";
}

}  // namespace

void writeMountNote(const MountNote& note) {
  std::error_code ec;
  auto directory = ownDirectory();
  fs::create_directories(directory, ec);
  nlohmann::json json = {{"device", note.device},
                         {"path", note.path},
                         {"nameservers", note.nameservers},
                         {"pid", note.pid}};
  auto file = fileOf(directory, note.device);
  std::ofstream(file + ".new") << json.dump() << "\n";
  fs::rename(file + ".new", file, ec);
}

void removeMountNote(uint64_t device) {
  std::error_code ec;
  fs::remove(fileOf(ownDirectory(), device), ec);
}

kj::Maybe<MountNote> mountNoteAt(uint64_t device) {
  for (auto& directory : {std::string("/run/dfs/mounts"), ownDirectory()}) {
    std::ifstream file(fileOf(directory, device));
    auto json = nlohmann::json::parse(file, nullptr, false);
    if (!json.is_object() || !json.contains("nameservers")) continue;
    MountNote note;
    note.device = device;
    note.path = json.value("path", "");
    note.pid = json.value("pid", 0);
    note.nameservers = json["nameservers"].get<std::vector<std::string>>();
    return note;
  }
  return nullptr;
}

kj::Maybe<MountNote> mountNoteOf(const std::string& path) {
  struct stat st {};
  if (lstat(path.c_str(), &st) != 0) return nullptr;
  return mountNoteAt(st.st_dev);
}

}  // namespace dfs
