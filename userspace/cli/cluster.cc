// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "userspace/base/mounts.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/cli/agent_session.h"
#include "userspace/cli/api_session.h"
#include "userspace/cli/box_cgroup.h"
#include "userspace/cli/box_network.h"
#include "userspace/cli/component.h"
#include "userspace/cli/credentials.h"

namespace fairlead::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr long kBpfFsMagic = 0xcafe4a11;

absl::Status CheckMachine() {
  if (geteuid() != 0) {
    return absl::PermissionDeniedError(
        "a cluster in a box needs root: it makes network namespaces and "
        "loads BPF programs (run it with sudo)");
  }
  if (!FindMount("cgroup2").ok()) {
    return absl::FailedPreconditionError(
        "cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup");
  }
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return absl::FailedPreconditionError(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): use one built with "
        "CONFIG_DEBUG_INFO_BTF, such as Debian's own");
  }
  return absl::OkStatus();
}

// A port of the loopback that is free now; the controller keeps it for the
// life of the box, so that a kubeconfig stays good.
absl::StatusOr<Port> FreePort() {
  UniqueFd sock(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!sock.valid() || bind(sock.get(), generic, size) != 0 ||
      getsockname(sock.get(), generic, &size) != 0)
    return ErrnoStatus(errno, "find a free port");
  return ntohs(address.sin_port);
}

bool IsBpfFs(const std::string& path) {
  struct statfs stats;
  return statfs(path.c_str(), &stats) == 0 && stats.f_type == kBpfFsMagic;
}

absl::Status MountBpfFs(const Box& box) {
  if (IsBpfFs(box.BpfDir())) return absl::OkStatus();
  if (mount("bpffs", box.BpfDir().c_str(), "bpf", 0, "mode=0700") != 0)
    return ErrnoStatus(errno, "mount a BPF file system at", box.BpfDir());
  return absl::OkStatus();
}

// Asks `done` until it is OK, an error that waiting can't mend, or too late.
absl::Status WaitFor(std::string_view what, absl::Time deadline,
                     const std::function<absl::Status()>& done) {
  for (;;) {
    absl::Status status = done();
    if (status.ok()) return status;
    if (absl::Now() >= deadline)
      return absl::DeadlineExceededError(
          StrCat(what, ": ", status.message()));
    absl::SleepFor(absl::Milliseconds(20));
  }
}

absl::StatusOr<ApiSession> OpenApi(const Box& box) {
  return ApiSession::OpenDefault(box.Kubeconfig());
}

absl::Status ApiReady(const Box& box) {
  FL_ASSIGN_OR_RETURN(ApiSession api, OpenApi(box));
  return api.Do({.target = "/readyz"}).status();
}

absl::Status NodeReady(const Box& box, int node) {
  FL_ASSIGN_OR_RETURN(ApiSession api, OpenApi(box));
  FL_ASSIGN_OR_RETURN(json object,
                      api.GetJson("/api/v1/nodes/" + Box::NodeName(node)));
  for (const json& condition : object["status"]["conditions"]) {
    if (condition.value("type", "") == "Ready" &&
        condition.value("status", "") == "True")
      return absl::OkStatus();
  }
  return absl::UnavailableError("not Ready yet");
}

absl::Status AgentReady(const Box& box, int node) {
  FL_ASSIGN_OR_RETURN(AgentSession agent,
                      AgentSession::Open(box.AdminSocket(node)));
  FL_ASSIGN_OR_RETURN(auto status, agent.Status());
  return status.synced() ? absl::OkStatus()
                         : absl::UnavailableError("not synced yet");
}

absl::Status ComponentReady(const Box& box, const Component& component) {
  if (!FindRunning(box, component.name)) {
    return absl::InternalError(
        StrCat("it ended; see ", box.LogFile(component.name)));
  }
  if (component.node == 0) return ApiReady(box);
  return absl::StartsWith(component.name, "agent")
             ? AgentReady(box, component.node)
             : NodeReady(box, component.node);
}

absl::Status StartAll(const Box& box, const std::vector<Component>& components,
                      absl::Time deadline, const Progress& progress) {
  absl::Time start = absl::Now();
  auto wait = [&](const Component& component) -> absl::Status {
    FL_RETURN_IF_ERROR(WaitFor(component.name, deadline, [&] {
      return ComponentReady(box, component);
    }));
    progress.Step(StrCat(
        component.name, " ready (",
        absl::FormatDuration(absl::Trunc(absl::Now() - start,
                                         absl::Milliseconds(10))),
        ")"));
    return absl::OkStatus();
  };
  // The nodes' daemons retry, but need no retry if the API is there.
  for (const Component& component : components) {
    FL_RETURN_IF_ERROR(EnsureRunning(box, component).status());
    if (component.node == 0) FL_RETURN_IF_ERROR(wait(component));
  }
  for (const Component& component : components)
    if (component.node != 0) FL_RETURN_IF_ERROR(wait(component));
  return absl::OkStatus();
}

// Once the nodes are ready they have their pods' ranges.
absl::Status RoutePods(const Box& box) {
  FL_ASSIGN_OR_RETURN(ApiSession api, OpenApi(box));
  for (int node = 1; node <= box.nodes; ++node) {
    FL_ASSIGN_OR_RETURN(json object,
                        api.GetJson("/api/v1/nodes/" + Box::NodeName(node)));
    std::vector<IpPrefix> pods;
    for (const json& text : object["spec"]["podCIDRs"]) {
      if (!text.is_string()) continue;
      FL_ASSIGN_OR_RETURN(IpPrefix prefix,
                          IpPrefix::Parse(text.get<std::string>()));
      pods.push_back(prefix);
    }
    FL_RETURN_IF_ERROR(RouteToPods(box, node, pods));
  }
  return absl::OkStatus();
}

// The box's BPF file system, whose pinned links and maps go with it, and the
// namespaces that its kubelets keep mounted.
absl::Status UnmountBelow(const std::string& dir) {
  for (const std::string& mount : MountsBelow(dir)) {
    if (umount2(mount.c_str(), MNT_DETACH) != 0 && errno != EINVAL)
      return ErrnoStatus(errno, "unmount", mount);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ClusterUp(ClusterUpOptions options, const Progress& progress) {
  FL_RETURN_IF_ERROR(CheckMachine());
  FL_RETURN_IF_ERROR(ValidateBox(options.box));
  auto known = LoadBox(options.box.root, options.box.name);
  if (known.ok()) {
    if (known->nodes != options.box.nodes) {
      return absl::AlreadyExistsError(
          StrCat("cluster \"", known->name, "\" exists with ", known->nodes,
                 " nodes; take it down first"));
    }
    options.box = *known;
  } else if (!absl::IsNotFound(known.status())) {
    return known.status();
  } else {
    FL_ASSIGN_OR_RETURN(options.box.api_port, FreePort());
  }
  const Box& box = options.box;
  FL_RETURN_IF_ERROR(SaveBox(box));
  FL_RETURN_IF_ERROR(MountBpfFs(box));
  FL_RETURN_IF_ERROR(BuildNetwork(box));
  progress.Step(StrCat("network: ", box.nodes,
                       " nodes and an outside client, in namespaces fl-",
                       box.name, "-*"));
  for (int node = 1; node <= box.nodes; ++node) {
    FL_ASSIGN_OR_RETURN(std::string cgroup, NodeCgroup(box, node));
    FL_RETURN_IF_ERROR(MakeCgroup(cgroup));
    std::error_code error;
    fs::create_directories(box.NodeDir(node), error);
    if (error)
      return ErrnoStatus(error.value(), "make directory", box.NodeDir(node));
  }
  FL_RETURN_IF_ERROR(WriteNodeCredentials(box, absl::Now()));
  FL_ASSIGN_OR_RETURN(
      std::vector<Component> components,
      Components(box, {.bin_dir = ProgramFolder(),
                       .log_level = options.log_level,
                       .controller = options.controller_flags,
                       .kubelet = options.kubelet_flags}));
  FL_RETURN_IF_ERROR(
      StartAll(box, components, absl::Now() + options.wait, progress));
  return RoutePods(box);
}

absl::Status ClusterDown(const Box& box, const Progress& progress) {
  FL_RETURN_IF_ERROR(CheckMachine());
  FL_ASSIGN_OR_RETURN(std::vector<Component> components, Components(box, {}));
  // Kubelets first, or they would start again what is taken away.
  for (auto it = components.rbegin(); it != components.rend(); ++it) {
    if (auto process = FindRunning(box, it->name)) {
      FL_RETURN_IF_ERROR(Terminate(*process, absl::Seconds(5)));
      progress.Step(it->name + " stopped");
    }
  }
  FL_RETURN_IF_ERROR(RemoveCgroups(box));
  FL_RETURN_IF_ERROR(UnmountBelow(box.Dir()));
  FL_RETURN_IF_ERROR(RemoveNetwork(box));
  std::error_code error;
  fs::remove_all(box.Dir(), error);
  if (error) return ErrnoStatus(error.value(), "remove", box.Dir());
  progress.Step(StrCat("cluster \"", box.name, "\" removed"));
  return absl::OkStatus();
}

absl::Status ClusterStatus(const Box& box, bool as_json) {
  FL_ASSIGN_OR_RETURN(std::vector<Component> components, Components(box, {}));
  TextTable table({"COMPONENT", "STATE", "PID", "LOG"});
  json rows = json::array();
  absl::Status result;
  for (const Component& component : components) {
    absl::Status ready = ComponentReady(box, component);
    auto process = FindRunning(box, component.name);
    std::string state = ready.ok() ? "ready"
                        : process  ? StrCat("not ready: ", ready.message())
                                   : std::string("stopped");
    table.AddRow({component.name, state,
                  process ? std::to_string(process->pid) : "",
                  box.LogFile(component.name)});
    rows.push_back({{"component", component.name},
                    {"ready", ready.ok()},
                    {"state", state},
                    {"pid", process ? process->pid : 0},
                    {"log", box.LogFile(component.name)}});
    if (!ready.ok())
      result.Update(absl::FailedPreconditionError(
          StrCat(component.name, " is ", state)));
  }
  if (as_json) {
    std::printf("%s\n", json{{"cluster", box.name},
                             {"kubeconfig", box.Kubeconfig()},
                             {"components", rows}}
                            .dump(2)
                            .c_str());
  } else {
    std::printf("%sexport KUBECONFIG=%s\n", table.ToString().c_str(),
                box.Kubeconfig().c_str());
  }
  return result;
}

}  // namespace fairlead::cli
