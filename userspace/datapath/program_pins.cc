// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/program_pins.h"

#include <bpf/bpf.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::datapath {
namespace {

constexpr size_t kFingerprintBytes = 16;

class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    fine_ = EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }
  // With its length, so that no two lists of parts are the same bytes.
  void Add(std::string_view part) {
    const uint64_t size = part.size();
    fine_ = fine_ && EVP_DigestUpdate(context_.get(), &size, sizeof size) == 1 &&
            EVP_DigestUpdate(context_.get(), part.data(), part.size()) == 1;
  }
  absl::StatusOr<std::string> End() {
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (!fine_ || EVP_DigestFinal_ex(context_.get(), hash, nullptr) != 1) {
      return absl::InternalError("cannot compute a SHA-256");
    }
    return absl::BytesToHexString(absl::string_view(
        reinterpret_cast<const char*>(hash), kFingerprintBytes));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool fine_ = false;
};

absl::StatusOr<uint32_t> PinnedMapId(const std::string& path) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  if (!fd.valid() || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
    return ErrnoStatus(errno, "inspect pinned map", path);
  }
  return info.id;
}

}  // namespace

absl::StatusOr<std::string> ProgramFingerprint(
    const PinLayout& layout, absl::Span<const std::string_view> parts) {
  Digest digest;
  for (std::string_view part : parts) digest.Add(part);
  FL_ASSIGN_OR_RETURN(std::vector<std::string> maps,
                      ListDirectory(layout.MapsDir()));
  std::sort(maps.begin(), maps.end());
  for (const std::string& map : maps) {
    FL_ASSIGN_OR_RETURN(uint32_t id, PinnedMapId(layout.MapPath(map)));
    digest.Add(StrCat(map, "=", id));
  }
  return digest.End();
}

absl::StatusOr<ProgramFds> OpenPinnedPrograms(const PinLayout& layout,
                                              const std::string& fingerprint) {
  const std::string folder = layout.ProgramsDir(fingerprint);
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(folder));
  ProgramFds programs;
  for (const std::string& name : names) {
    const std::string path = StrCat(folder, "/", name);
    UniqueFd fd(bpf_obj_get(path.c_str()));
    if (!fd.valid()) return ErrnoStatus(errno, "open pinned program", path);
    programs.emplace(name, std::move(fd));
  }
  return programs;
}

absl::Status PinPrograms(const PinLayout& layout,
                         const std::string& fingerprint,
                         const ProgramFds& programs) {
  const std::string folder = layout.ProgramsDir(fingerprint);
  FL_ASSIGN_OR_RETURN(std::vector<std::string> there, ListDirectory(folder));
  if (!there.empty()) return layout.RemovePrograms(fingerprint);
  // Also what a crash in here left half done.
  FL_RETURN_IF_ERROR(layout.RemovePrograms());
  const std::string unfinished = layout.ProgramsDir("new");
  FL_RETURN_IF_ERROR(layout.CreatePrivate(unfinished));
  for (const auto& [name, fd] : programs) {
    const std::string path = StrCat(unfinished, "/", name);
    if (bpf_obj_pin(fd.get(), path.c_str()) != 0) {
      return ErrnoStatus(errno, "pin program", path);
    }
  }
  if (rename(unfinished.c_str(), folder.c_str()) != 0) {
    return ErrnoStatus(errno, "rename", unfinished);
  }
  return absl::OkStatus();
}

}  // namespace fairlead::datapath
