// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/box.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::cli {
namespace {

namespace fs = std::filesystem;

// Addresses that are written in this file parse.
DualAddress Pair(std::string_view v4, std::string_view v6) {
  return {*IpAddress::Parse(v4), *IpAddress::Parse(v6)};
}

}  // namespace

std::string Box::LogFile(const std::string& component) const {
  return StrCat(LogDir(), "/", component, ".log");
}
std::string Box::PidFile(const std::string& component) const {
  return StrCat(Dir(), "/run/", component, ".json");
}
std::string Box::AdminSocket(int node) const {
  return StrCat(NodeDir(node), "/agent.sock");
}
std::string Box::NodeNetns(int node) const {
  return StrCat("fl-", name, "-", NodeName(node));
}
std::string Box::PodNetnsPrefix(int node) const {
  return StrCat("fl-", name, "-p", node, "-");
}

DualAddress Box::FabricAddress() { return Pair("172.30.0.1", "fd00:172:30::1"); }
DualAddress Box::RouterOfOutside() {
  return Pair("198.51.100.1", "fd00:198:51::1");
}
DualAddress Box::OutsideAddress() {
  return Pair("198.51.100.2", "fd00:198:51::2");
}
DualAddress Box::NodeAddress(int node) {
  return Pair(StrCat("172.30.0.", 10 + node),
              StrCat("fd00:172:30::", 10 + node));
}

std::string Box::FabricApiUrl() {
  return StrCat("https://", FabricAddress().v4.ToString(), ":6443");
}
std::string Box::AgentKubeconfig(int node) const {
  return StrCat(NodeDir(node), "/agent.kubeconfig");
}
std::string Box::KubeletKubeconfig(int node) const {
  return StrCat(NodeDir(node), "/kubelet.kubeconfig");
}
std::string Box::KubeletCertificate(int node) const {
  return StrCat(NodeDir(node), "/kubelet-serving.crt");
}
std::string Box::KubeletKey(int node) const {
  return StrCat(NodeDir(node), "/kubelet-serving.key");
}

absl::Status ValidateBox(const Box& box) {
  bool plain = !box.name.empty() && box.name.size() <= 12 &&
               box.name.find_first_not_of(
                   "abcdefghijklmnopqrstuvwxyz0123456789") ==
                   std::string::npos;
  if (!plain) {
    return absl::InvalidArgumentError(
        StrCat("\"", box.name,
               "\" is not a cluster name: 1 to 12 lower-case letters and "
               "digits"));
  }
  if (box.nodes < 1 || box.nodes > kMaxNodes) {
    return absl::InvalidArgumentError(
        StrCat("--nodes: 1 to ", kMaxNodes, ", not ", box.nodes));
  }
  return absl::OkStatus();
}

absl::StatusOr<Box> LoadBox(const std::string& root, const std::string& name) {
  Box box{.name = name, .root = root};
  std::ifstream file(box.Dir() + "/state.json");
  if (!file) {
    return absl::NotFoundError(
        StrCat("no cluster \"", name,
               "\" here; start one with: fairleadctl cluster up"));
  }
  auto state = nlohmann::json::parse(file, nullptr, false);
  if (!state.is_object() || !state["nodes"].is_number_integer() ||
      !state["apiPort"].is_number_integer()) {
    return absl::DataLossError(StrCat(box.Dir(), "/state.json is damaged"));
  }
  box.nodes = state["nodes"];
  box.api_port = state["apiPort"];
  return box;
}

absl::Status SaveBox(const Box& box) {
  std::error_code error;
  for (const std::string& dir :
       {box.Dir(), box.LogDir(), box.Dir() + "/run", box.BpfDir()}) {
    fs::create_directories(dir, error);
    if (error) return ErrnoStatus(error.value(), "make directory", dir);
  }
  std::string path = box.Dir() + "/state.json", fresh = path + ".new";
  std::ofstream file(fresh);
  file << nlohmann::json{{"nodes", box.nodes}, {"apiPort", box.api_port}}
       << "\n";
  file.close();
  if (!file) return ErrnoStatus(errno, "write", fresh);
  fs::rename(fresh, path, error);
  return ErrnoStatus(error.value(), "rename", fresh);
}

std::vector<std::string> ListBoxes(const std::string& root) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (fs::exists(entry.path() / "state.json"))
      names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace fairlead::cli
