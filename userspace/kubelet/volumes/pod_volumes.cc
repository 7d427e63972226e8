// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/volumes/pod_volumes.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>

#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/volumes/host_path.h"

namespace fairlead::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kFirstRetry = absl::Milliseconds(500);
constexpr absl::Duration kMaxRetry = absl::Seconds(15);
// A token is renewed when this much of its life is over.
constexpr double kTokenAge = 0.8;

// No container has a name that begins so.
std::string FolderOf(const std::string& pod_dir) {
  return pod_dir + "/_volumes";
}

bool IsMounted(const std::string& path) {
  struct stat here{}, above{};
  return stat(path.c_str(), &here) == 0 &&
         stat((path + "/..").c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

absl::Status MakeDirectory(const std::string& path, mode_t mode,
                           std::optional<gid_t> group) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "make directory", path);
  if (group && chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0)
    return ErrnoStatus(errno, "set group of", path);
  if (chmod(path.c_str(), group ? mode | 02070 : mode) != 0)
    return ErrnoStatus(errno, "set mode of", path);
  return absl::OkStatus();
}

absl::Status MountTmpfs(const std::string& path,
                        std::optional<int64_t> bytes) {
  if (IsMounted(path)) return absl::OkStatus();
  const std::string data = bytes ? StrCat("size=", *bytes) : "";
  if (mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV,
            data.c_str()) != 0) {
    return ErrnoStatus(errno, "mount tmpfs at", path);
  }
  return absl::OkStatus();
}

// The user that all of the pod's containers run as, if there is one.
std::optional<uid_t> CommonUser(const PodSpec& pod) {
  std::optional<int64_t> user;
  for (const auto* list : {&pod.init_containers, &pod.containers}) {
    for (const ContainerSpec& container : *list) {
      const auto own = container.security.user;
      if (!own || (user && user != own)) return std::nullopt;
      user = own;
    }
  }
  return user ? std::optional(static_cast<uid_t>(*user)) : std::nullopt;
}

std::optional<gid_t> GroupOf(const PodSpec& pod) {
  return pod.fs_group ? std::optional(static_cast<gid_t>(*pod.fs_group))
                      : std::nullopt;
}

bool HoldsSecret(const Volume& volume) {
  return std::any_of(volume.projections.begin(), volume.projections.end(),
                     [](const Projection& p) {
                       return p.kind == Projection::Kind::kSecret ||
                              p.kind == Projection::Kind::kToken;
                     });
}

}  // namespace

PodVolumes::PodVolumes(Host host, const std::string& ns)
    : host_(std::move(host)),
      objects_(host_.loop, host_.client, ns, [this] { host_.on_change(); }) {}

std::string PodVolumes::PathOf(const Volume& volume) const {
  return StrCat(FolderOf(host_.pod_dir), "/", volume.name);
}

bool PodVolumes::SetUp(const EnvContext& context) {
  bool all = true, failed = false, waiting = false;
  for (const Volume& volume : context.pod->volumes) {
    State& state = states_[volume.name];
    if (!state.due) continue;
    const Result result = Make(volume, context);
    if (!result) {
      waiting = true;
    } else if (result->ok()) {
      state = {.ready = true, .due = false, .failure = ""};
    } else {
      failed = true;
      const std::string why(result->message());
      if (why != state.failure) {
        host_.on_failed(StrCat("MountVolume.SetUp failed for volume \"",
                               volume.name, "\" : ", why));
      }
      state.failure = why;
    }
    all = all && state.ready;
  }
  if (failed) {
    Retry();
  } else if (!waiting) {
    delay_ = absl::ZeroDuration();
    if (!refresh_.pending() && !context.pod->volumes.empty()) {
      // Not all pods at the same moment.
      thread_local std::minstd_rand random{std::random_device{}()};
      const double part = std::uniform_real_distribution(0.75, 1.0)(random);
      refresh_ = host_.loop->After(host_.refresh * part, [this] {
        objects_.Forget();
        for (auto& [name, state] : states_) state.due = true;
        host_.on_change();
      });
    }
  }
  return all;
}

void PodVolumes::Retry() {
  if (retry_.pending()) return;
  delay_ = std::clamp(2 * delay_, kFirstRetry, kMaxRetry);
  retry_ = host_.loop->After(delay_, [this] {
    objects_.Forget();
    for (auto& [key, token] : tokens_) token.error = absl::OkStatus();
    host_.on_change();
  });
}

PodVolumes::Result PodVolumes::Make(const Volume& volume,
                                    const EnvContext& context) {
  switch (volume.kind) {
    case Volume::Kind::kEmptyDir:
      return MakeEmptyDir(volume, *context.pod);
    case Volume::Kind::kHostPath:
      return PrepareHostPath(volume.path, volume.type);
    case Volume::Kind::kProjected:
      return MakeProjected(volume, context);
    case Volume::Kind::kUnsupported:
      break;
  }
  return absl::UnimplementedError(
      StrCat("this runtime has no ", volume.unsupported, " volumes"));
}

absl::Status PodVolumes::MakeEmptyDir(const Volume& volume,
                                      const PodSpec& pod) {
  if (states_[volume.name].ready) return absl::OkStatus();
  const std::string path = PathOf(volume);
  std::error_code error;
  fs::create_directories(path, error);
  if (volume.in_memory)
    FL_RETURN_IF_ERROR(MountTmpfs(path, volume.size_limit));
  return MakeDirectory(path, 0777, GroupOf(pod));
}

PodVolumes::Result PodVolumes::MakeProjected(const Volume& volume,
                                             const EnvContext& context) {
  Payload payload;
  bool waiting = false;
  for (size_t i = 0; i < volume.projections.size(); ++i) {
    const Projection& projection = volume.projections[i];
    Result result = absl::OkStatus();
    if (projection.kind == Projection::Kind::kDownwardApi) {
      result = ProjectFields(projection, context, volume.mode, &payload);
    } else if (projection.kind == Projection::Kind::kToken) {
      result = AddToken(StrCat(volume.name, "/", i), projection, volume,
                        context, &payload);
    } else {
      const auto* object =
          objects_.Find(projection.kind == Projection::Kind::kSecret,
                        projection.object);
      if (object == nullptr) {
        result = std::nullopt;
      } else if (object->ok()) {
        result = ProjectObject(projection, **object, volume.mode, &payload);
      } else if (!absl::IsNotFound(object->status()) ||
                 !projection.optional) {
        result = object->status();
      }
    }
    // All are asked for before the first is waited for.
    if (result && !result->ok()) return result;
    waiting = waiting || !result;
  }
  if (waiting) return std::nullopt;
  const std::string path = PathOf(volume);
  const std::optional<gid_t> group = GroupOf(*context.pod);
  absl::Status status = MakeDirectory(path, 0755, group);
  if (status.ok() && HoldsSecret(volume)) {
    status = MountTmpfs(path, std::nullopt);
    status.Update(MakeDirectory(path, 0755, group));
  }
  if (status.ok())
    status = WriteAtomically(path, payload, group, Clock::Real().Now());
  return status;
}

// With an owner of its own a token is his only.
PodVolumes::Result PodVolumes::AddToken(const std::string& key,
                                        const Projection& projection,
                                        const Volume& volume,
                                        const EnvContext& context,
                                        Payload* payload) {
  Token& token = tokens_[key];
  if (Clock::Real().Now() >= token.renew_at && token.call == nullptr &&
      token.error.ok()) {
    RequestToken(key, projection, *context.pod);
  }
  if (!token.error.ok()) return token.error;
  if (token.text.empty()) return std::nullopt;
  const std::string& path = projection.files.front().path;
  if (!IsUsablePath(path))
    return absl::InvalidArgumentError(StrCat("invalid path: ", path));
  FileContent content{.data = token.text, .mode = volume.mode, .owner = {}};
  content.owner = CommonUser(*context.pod);
  if (content.owner || context.pod->fs_group) content.mode = 0600;
  (*payload)[path] = std::move(content);
  return absl::OkStatus();
}

void PodVolumes::RequestToken(const std::string& key,
                              const Projection& projection,
                              const PodSpec& pod) {
  Json spec = {{"expirationSeconds",
                absl::ToInt64Seconds(projection.lifetime)},
               {"boundObjectRef",
                {{"apiVersion", "v1"},
                 {"kind", "Pod"},
                 {"name", pod.name},
                 {"uid", pod.uid}}}};
  if (!projection.audience.empty())
    spec["audiences"] = Json::array({projection.audience});
  const std::string account =
      pod.service_account.empty() ? "default" : pod.service_account;
  tokens_[key].call = host_.client->CreateSubresource(
      kube::ServiceAccounts(), pod.ns, account, "token",
      {{"apiVersion", "authentication.k8s.io/v1"},
       {"kind", "TokenRequest"},
       {"spec", std::move(spec)}},
      [this, key](const absl::StatusOr<Json>& answer) {
        // Not destroyed here: this is its own callback.
        host_.loop->Post([call = std::shared_ptr<kube::Call>(
                              std::move(tokens_[key].call))] {});
        OnToken(key, answer);
      });
}

void PodVolumes::OnToken(const std::string& key,
                         const absl::StatusOr<Json>& answer) {
  Token& token = tokens_[key];
  const absl::Time now = Clock::Real().Now();
  if (answer.ok()) {
    absl::Time expires = now;
    std::string error;
    absl::ParseTime(absl::RFC3339_full,
                    StringAt(*answer, {"status", "expirationTimestamp"}),
                    &expires, &error);
    token.text = StringAt(*answer, {"status", "token"});
    token.renew_at =
        now + std::max(kTokenAge * (expires - now), absl::Seconds(1));
  }
  if (!answer.ok() || token.text.empty()) {
    const std::string why(answer.ok() ? "the answer has none"
                                      : answer.status().message());
    // One that is still good is kept; the next look asks again.
    if (token.text.empty()) {
      token.error =
          absl::UnavailableError(StrCat("failed to fetch token: ", why));
    }
  }
  // A renewed one is written at once.
  states_[key.substr(0, key.rfind('/'))].due = true;
  host_.on_change();
}

absl::StatusOr<std::vector<Mount>> PodVolumes::MountsOf(
    const ContainerSpec& container, const EnvContext& context,
    const std::vector<std::string>& env) const {
  std::vector<Mount> mounts;
  for (const VolumeMount& wanted : container.mounts) {
    const auto volume = std::find_if(
        context.pod->volumes.begin(), context.pod->volumes.end(),
        [&](const Volume& v) { return v.name == wanted.volume; });
    if (volume == context.pod->volumes.end()) {
      return absl::InvalidArgumentError(
          StrCat("no volume \"", wanted.volume, "\" in the pod"));
    }
    std::string below = wanted.sub_path;
    if (!wanted.sub_path_expr.empty())
      below = ExpandVariables(wanted.sub_path_expr, ValuesOf(env));
    if (!below.empty() && !IsUsablePath(below)) {
      return absl::InvalidArgumentError(
          StrCat("subPath \"", below, "\" must be within the volume"));
    }
    const bool host = volume->kind == Volume::Kind::kHostPath;
    mounts.push_back(
        {.source = host ? volume->path : PathOf(*volume),
         .sub_path = below,
         .target = wanted.path,
         .read_only = wanted.read_only ||
                      volume->kind == Volume::Kind::kProjected});
  }
  return mounts;
}

absl::Status PodVolumes::TearDown() {
  states_.clear();
  tokens_.clear();
  objects_.Forget();
  retry_.Cancel();
  refresh_.Cancel();
  return Remove(host_.pod_dir);
}

absl::Status PodVolumes::Remove(const std::string& pod_dir) {
  const std::string folder = FolderOf(pod_dir);
  std::error_code error;
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(folder, error))
    paths.push_back(entry.path().string());
  for (const std::string& path : paths) {
    if (IsMounted(path) && umount2(path.c_str(), MNT_DETACH) != 0)
      return ErrnoStatus(errno, "unmount", path);
  }
  error.clear();
  fs::remove_all(folder, error);
  return error ? ErrnoStatus(error.value(), "remove", folder)
               : absl::OkStatus();
}

}  // namespace fairlead::kubelet
