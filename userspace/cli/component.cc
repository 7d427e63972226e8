// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/component.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/box_cgroup.h"

namespace fairlead::cli {
namespace {

Component Controller(const Box& box, const ComponentFlags& flags) {
  Component component{.name = "controller"};
  component.spawn.argv = {
      flags.bin_dir + "/fairlead-controller",
      "--store", box.Dir() + "/controller.db",
      "--cert-dir", box.PkiDir(),
      "--listen", StrCat("https://127.0.0.1:", box.api_port),
      "--listen", StrCat(Box::FabricApiUrl(), "@", NetnsPath(box.Fabric())),
      "--write-kubeconfig", box.Kubeconfig(),
      "--cluster-cidr", kClusterCidrs,
      "--service-cidr", kServiceCidrs,
      "--log-level", flags.log_level};
  component.spawn.argv.insert(component.spawn.argv.end(),
                              flags.controller.begin(),
                              flags.controller.end());
  return component;
}

Component Agent(const Box& box, const ComponentFlags& flags, int node,
                const std::string& cgroup) {
  Component component{.name = "agent-" + Box::NodeName(node), .node = node};
  component.spawn.netns = NetnsPath(box.NodeNetns(node));
  component.spawn.argv = {
      flags.bin_dir + "/fairlead-agent",
      "--kubeconfig", box.AgentKubeconfig(node),
      "--node-name", Box::NodeName(node),
      "--cgroup-root", cgroup,
      "--bpf-root", StrCat(box.BpfDir(), "/", Box::NodeName(node)),
      "--cluster-cidr", kClusterCidrs,
      "--service-cidr", kServiceCidrs,
      "--node-pod-cidr", "auto",
      "--admin-socket", box.AdminSocket(node),
      "--log-level", flags.log_level};
  return component;
}

Component Kubelet(const Box& box, const ComponentFlags& flags, int node,
                  const std::string& cgroup) {
  DualAddress address = Box::NodeAddress(node);
  Component component{.name = "kubelet-" + Box::NodeName(node), .node = node};
  component.spawn.netns = NetnsPath(box.NodeNetns(node));
  component.spawn.argv = {
      flags.bin_dir + "/fairlead-kubelet",
      "--kubeconfig", box.KubeletKubeconfig(node),
      "--node-name", Box::NodeName(node),
      "--node-ip",
      StrCat(address.v4.ToString(), ",", address.v6.ToString()),
      "--tls-cert-file", box.KubeletCertificate(node),
      "--tls-private-key-file", box.KubeletKey(node),
      "--client-ca-file", box.PkiDir() + "/ca.crt",
      "--root-dir", box.NodeDir(node) + "/kubelet",
      "--cgroup-root", cgroup,
      "--netns-prefix", box.PodNetnsPrefix(node),
      "--uplink", "eth0",
      "--log-level", flags.log_level};
  component.spawn.argv.insert(component.spawn.argv.end(),
                              flags.kubelet.begin(), flags.kubelet.end());
  return component;
}

}  // namespace

std::string ProgramFolder() {
  std::error_code error;
  auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "/usr/local/bin" : self.parent_path().string();
}

absl::StatusOr<std::vector<Component>> Components(const Box& box,
                                                  const ComponentFlags& flags) {
  std::vector<Component> components = {Controller(box, flags)};
  for (int node = 1; node <= box.nodes; ++node) {
    FL_ASSIGN_OR_RETURN(std::string cgroup, NodeCgroup(box, node));
    components.push_back(Agent(box, flags, node, cgroup));
    components.push_back(Kubelet(box, flags, node, cgroup));
  }
  for (Component& component : components)
    component.spawn.log_file = box.LogFile(component.name);
  return components;
}

std::optional<ProcessIdentity> FindRunning(const Box& box,
                                           const std::string& component) {
  std::ifstream file(box.PidFile(component));
  auto record = nlohmann::json::parse(file, nullptr, false);
  if (!record.is_object()) return std::nullopt;
  ProcessIdentity process{record.value("pid", 0),
                          record.value("startTicks", uint64_t{0})};
  if (!process.IsAlive()) return std::nullopt;
  return process;
}

absl::StatusOr<bool> EnsureRunning(const Box& box,
                                   const Component& component) {
  if (FindRunning(box, component.name)) return false;
  FL_ASSIGN_OR_RETURN(ProcessIdentity process, Spawn(component.spawn));
  std::string path = box.PidFile(component.name);
  std::ofstream file(path);
  file << nlohmann::json{{"pid", process.pid},
                         {"startTicks", process.start_ticks},
                         {"argv", component.spawn.argv}}
       << "\n";
  file.close();
  if (!file) return ErrnoStatus(errno, "write", path);
  return true;
}

}  // namespace fairlead::cli
