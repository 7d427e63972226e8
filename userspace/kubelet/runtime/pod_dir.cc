// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/pod_dir.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {

namespace fs = std::filesystem;

namespace {

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? ErrnoStatus(error.value(), "make directory", path)
               : absl::OkStatus();
}

}  // namespace

PodDir PodDir::For(const std::string& pods_dir, const std::string& ns,
                   const std::string& name, const std::string& uid) {
  return PodDir(StrCat(pods_dir, "/", ns, "_", name, "_", uid));
}

std::string PodDir::NamespacePath(const std::string& kind) const {
  return StrCat(path_, "/ns/", kind);
}

std::string PodDir::RunPrefix(const std::string& container,
                              int attempt) const {
  return StrCat(path_, "/", container, "/", attempt);
}

absl::Status PodDir::Create() const { return MakeDirectory(path_ + "/ns"); }

absl::Status PodDir::CreateContainer(const std::string& name) const {
  return MakeDirectory(StrCat(path_, "/", name));
}

absl::Status PodDir::Remove() const {
  std::error_code error;
  fs::remove_all(path_, error);
  return error ? ErrnoStatus(error.value(), "remove", path_)
               : absl::OkStatus();
}

absl::Status PodDir::SaveManifest(const std::string& json) const {
  return WriteFileWhole(path_ + "/pod.json", json);
}

absl::StatusOr<std::string> PodDir::LoadManifest() const {
  return ReadFile(path_ + "/pod.json");
}

absl::Status PodDir::SaveSandbox(const SandboxRecord& record) const {
  std::vector<std::string> ips;
  for (const IpAddress& ip : record.ips) ips.push_back(ip.ToString());
  return WriteFileWhole(
      path_ + "/sandbox",
      FormatFields({{"ips", absl::StrJoin(ips, ",")},
                    {"started",
                     StrCat(absl::ToUnixNanos(record.start_time))}}));
}

absl::StatusOr<SandboxRecord> PodDir::LoadSandbox() const {
  FL_ASSIGN_OR_RETURN(const std::string text, ReadFile(path_ + "/sandbox"));
  const Fields fields = ParseFields(text);
  SandboxRecord record;
  record.start_time = absl::FromUnixNanos(NumberIn(fields, "started"));
  const std::string ips = TextIn(fields, "ips");
  for (const auto& word : absl::StrSplit(ips, ',', absl::SkipEmpty())) {
    FL_ASSIGN_OR_RETURN(const IpAddress ip, IpAddress::Parse(Std(word)));
    record.ips.push_back(ip);
  }
  return record;
}

absl::Status PodDir::ForgetSandbox() const {
  std::error_code error;
  fs::remove(path_ + "/sandbox", error);
  return error ? ErrnoStatus(error.value(), "remove sandbox record of", path_)
               : absl::OkStatus();
}

std::vector<int> PodDir::Runs(const std::string& container) const {
  std::vector<int> runs;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(StrCat(path_, "/", container), error)) {
    int attempt = 0;
    if (entry.path().extension() == ".spec" &&
        absl::SimpleAtoi(entry.path().stem().string(), &attempt)) {
      runs.push_back(attempt);
    }
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

void PodDir::Prune(const std::string& container, int keep) const {
  const std::vector<int> runs = Runs(container);
  for (size_t i = 0; i + static_cast<size_t>(keep) < runs.size(); ++i) {
    const std::string prefix = RunPrefix(container, runs[i]);
    std::error_code ignored;
    for (const char* ending : {".spec", ".id", ".state", ".exit", ".log", ".message"})
      fs::remove(prefix + ending, ignored);
    // Rotated logs are numbered without gaps.
    for (int n = 1; fs::remove(StrCat(prefix, ".log.", n), ignored); ++n) {
    }
  }
}

std::vector<PodDir> ListPodDirs(const std::string& pods_dir) {
  std::vector<PodDir> dirs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(pods_dir, error)) {
    if (entry.is_directory(error)) dirs.emplace_back(entry.path().string());
  }
  return dirs;
}

}  // namespace fairlead::kubelet
