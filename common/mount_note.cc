#include "common/mount_note.h"

#include "common/mounts.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
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

bool isTrusted(const std::string& directory) {
  // Anybody may make a directory below /tmp; what another user writes there names no cluster of ours.
  struct stat st {};
  return lstat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) &&
         (st.st_uid == geteuid() || st.st_uid == 0) && (st.st_mode & 022) == 0;
}

kj::Maybe<MountNote> noteOf(const nlohmann::json& json) {
  if (!json.is_object()) return nullptr;
  auto path = json.find("path"), pid = json.find("pid"), names = json.find("nameservers");
  if (path == json.end() || !path->is_string()) return nullptr;
  if (pid == json.end() || !pid->is_number_integer()) return nullptr;
  if (names == json.end() || !names->is_array()) return nullptr;
  MountNote note;
  note.path = path->get<std::string>();
  note.pid = pid->get<int32_t>();
  for (auto& name : *names) {
    if (!name.is_string()) return nullptr;
    note.nameservers.push_back(name.get<std::string>());
  }
  auto subdir = json.find("subdir");
  if (subdir != json.end() && subdir->is_string()) note.subdir = subdir->get<std::string>();
  auto words = json.find("words");
  if (words != json.end() && words->is_array()) {
    for (auto& word : *words) {
      if (word.is_string()) note.words.push_back(word.get<std::string>());
    }
  }
  return kj::mv(note);
}

}  // namespace

void writeMountNote(const MountNote& note) {
  std::error_code ec;
  auto directory = ownDirectory();
  fs::create_directories(directory, ec);
  if (!isTrusted(directory)) return;
  nlohmann::json json = {{"device", note.device},           {"path", note.path},
                         {"nameservers", note.nameservers}, {"pid", note.pid},
                         {"subdir", note.subdir},           {"words", note.words}};
  auto file = fileOf(directory, note.device);
  std::ofstream out(file + ".new");
  out << json.dump() << "\n";
  out.close();
  if (!out) return;
  fs::rename(file + ".new", file, ec);
}

kj::Maybe<MountNote> mountNoteAt(uint64_t device) {
  for (auto& directory : {std::string("/run/dfs/mounts"), ownDirectory()}) {
    if (!isTrusted(directory)) continue;
    std::ifstream file(fileOf(directory, device));
    auto json = nlohmann::json::parse(file, nullptr, false);
    KJ_IF_MAYBE(note, noteOf(json)) {
      note->device = device;
      return kj::mv(*note);
    }
  }
  return nullptr;
}

void removeMountNote(uint64_t device, int32_t pid) {
  auto file = fileOf(ownDirectory(), device);
  std::ifstream in(file);
  KJ_IF_MAYBE(note, noteOf(nlohmann::json::parse(in, nullptr, false))) {
    std::error_code ec;  // best effort, as the writing
    if (note->pid == pid) fs::remove(file, ec);
  }
}

kj::Maybe<MountNote> mountNoteOf(const std::string& path) {
  KJ_IF_MAYBE(mount, dfsMountHolding(mountPath(path))) {
    return mountNoteAt(makedev(mount->major, mount->minor));
  }
  return nullptr;
}

}  // namespace dfs
