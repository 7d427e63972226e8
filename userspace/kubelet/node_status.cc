// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/node_status.h"

#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/pod_status.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {
namespace {

#if defined(__aarch64__)
constexpr char kArchitecture[] = "arm64";
#else
constexpr char kArchitecture[] = "amd64";
#endif
// The Kubernetes version whose kubelet this one answers like.
constexpr char kKubeletVersion[] = "v1.32.0-fairlead";

std::string Line(const std::string& path) {
  std::string text = ReadFile(path).value_or("");
  return text.substr(0, text.find('\n'));
}

std::string OsImage() {
  const std::string text = ReadFile("/etc/os-release").value_or("");
  for (const auto& line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, "PRETTY_NAME=")) {
      std::string name(line.substr(12));
      std::erase(name, '"');
      return name;
    }
  }
  return "Linux";
}

struct ConditionText {
  const char* type;
  const char* status;
  const char* reason;
  std::string message;
};

ConditionText MemoryCondition(bool pressure) {
  if (!pressure) {
    return {"MemoryPressure", "False", "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"};
  }
  return {"MemoryPressure", "True", "KubeletHasInsufficientMemory",
          "kubelet has insufficient memory available"};
}

ConditionText DiskCondition(bool pressure) {
  if (!pressure) {
    return {"DiskPressure", "False", "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"};
  }
  return {"DiskPressure", "True", "KubeletHasDiskPressure",
          "kubelet has disk pressure"};
}

ConditionText PidCondition(bool pressure) {
  if (!pressure) {
    return {"PIDPressure", "False", "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"};
  }
  return {"PIDPressure", "True", "KubeletHasInsufficientPID",
          "kubelet has insufficient PID available"};
}

Json Condition(const ConditionText& text, const Json& current,
               absl::Time now) {
  Json json = {{"type", text.type},
               {"status", text.status},
               {"reason", text.reason},
               {"message", text.message},
               {"lastHeartbeatTime", KubeTime(now)},
               {"lastTransitionTime", KubeTime(now)}};
  for (const Json& before : At(current, {"conditions"})) {
    if (StringAt(before, {"type"}) == text.type &&
        StringAt(before, {"status"}) == text.status) {
      json["lastTransitionTime"] =
          StringAt(before, {"lastTransitionTime"}, KubeTime(now));
    }
  }
  return json;
}

Json Addresses(const Options& options) {
  Json list = Json::array();
  for (const IpAddress& ip : options.node_ips)
    list.push_back({{"type", "InternalIP"}, {"address", ip.ToString()}});
  list.push_back({{"type", "Hostname"}, {"address", options.node_name}});
  return list;
}

// What must be equal for a status to say the same.
Json Essence(Json status) {
  Json essence = Json::object();
  for (const char* key :
       {"addresses", "capacity", "allocatable", "daemonEndpoints",
        "nodeInfo"}) {
    if (status.contains(key)) essence[key] = status[key];
  }
  Json conditions = Json::object();
  for (const Json& c : At(status, {"conditions"})) {
    conditions[StringAt(c, {"type"})] = {StringAt(c, {"status"}),
                                         StringAt(c, {"reason"})};
  }
  essence["conditions"] = std::move(conditions);
  return essence;
}

}  // namespace

Machine ReadMachine(const std::string& root_dir) {
  Machine machine;
  machine.cpus = std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
  struct sysinfo info{};
  if (sysinfo(&info) == 0)
    machine.memory_bytes = uint64_t{info.totalram} * info.mem_unit;
  struct statvfs disk{};
  if (statvfs(root_dir.c_str(), &disk) == 0)
    machine.disk_bytes = uint64_t{disk.f_blocks} * disk.f_frsize;
  utsname uts{};
  if (uname(&uts) == 0) machine.kernel = uts.release;
  machine.machine_id = Line("/etc/machine-id");
  machine.boot_id = Line("/proc/sys/kernel/random/boot_id");
  machine.os_image = OsImage();
  return machine;
}

ResourceAmounts AllocatableOf(const Options& options,
                              const Machine& machine) {
  const auto bytes = [](uint64_t n) {
    return kube::Quantity::FromValue(static_cast<int64_t>(n));
  };
  ResourceAmounts amounts = {
      {"cpu", kube::Quantity::FromValue(machine.cpus)},
      {"memory", bytes(machine.memory_bytes)},
      {"ephemeral-storage", bytes(machine.disk_bytes)}};
  const auto take = [&](const std::string& name,
                        const kube::Quantity& amount) {
    const auto it = amounts.find(name);
    if (it == amounts.end()) return;
    it->second -= amount;
    if (it->second.sign() < 0) it->second = kube::Quantity();
  };
  for (const Threshold& t : options.eviction_hard) {
    const bool memory = t.signal == "memory.available";
    if (!memory && t.signal != "nodefs.available") continue;
    const uint64_t all = memory ? machine.memory_bytes : machine.disk_bytes;
    take(memory ? "memory" : "ephemeral-storage",
         t.part ? bytes(static_cast<uint64_t>(*t.part *
                                              static_cast<double>(all)))
                : kube::Quantity::FromValue(t.amount));
  }
  for (const auto& [name, amount] : options.reserved) take(name, amount);
  return amounts;
}

Json BuildNode(const Options& options, const Machine& machine) {
  Json labels = {{"beta.kubernetes.io/arch", kArchitecture},
                 {"beta.kubernetes.io/os", "linux"},
                 {"kubernetes.io/arch", kArchitecture},
                 {"kubernetes.io/os", "linux"},
                 {"kubernetes.io/hostname", options.node_name}};
  for (const auto& [key, value] : options.labels) labels[key] = value;
  Json node = {{"apiVersion", "v1"},
               {"kind", "Node"},
               {"metadata",
                {{"name", options.node_name}, {"labels", std::move(labels)}}},
               {"spec", Json::object()},
               {"status", BuildNodeStatus(options, machine,
                                          "the kubelet is starting", Json(),
                                          absl::Now())}};
  if (!options.pod_cidrs.empty()) {
    Json cidrs = Json::array();
    for (const IpPrefix& p : options.pod_cidrs) cidrs.push_back(p.ToString());
    node["spec"]["podCIDR"] = cidrs[0];
    node["spec"]["podCIDRs"] = cidrs;
  }
  return node;
}

namespace {

Json AmountsJson(const Options& options, const Machine& machine) {
  ResourceAmounts amounts = AllocatableOf(options, machine);
  const auto kibibytes = [&](const char* name) {
    return StrCat(amounts[name].value() / 1024, "Ki");
  };
  return {{"cpu", amounts["cpu"].ToString()},
          {"memory", kibibytes("memory")},
          {"ephemeral-storage", kibibytes("ephemeral-storage")},
          {"pods", StrCat(options.max_pods)}};
}

}  // namespace

Json BuildNodeStatus(const Options& options, const Machine& machine,
                     const std::string& not_ready, const Json& current,
                     absl::Time now) {
  Options whole;
  whole.max_pods = options.max_pods;
  const Json capacity = AmountsJson(whole, machine);
  const bool ready = not_ready.empty();
  Json conditions = Json::array();
  for (const ConditionText& text : std::initializer_list<ConditionText>{
           MemoryCondition(machine.shortages.memory),
           DiskCondition(machine.shortages.disk),
           PidCondition(machine.shortages.pids),
           {"Ready", ready ? "True" : "False",
            ready ? "KubeletReady" : "KubeletNotReady",
            ready ? "kubelet is posting ready status" : not_ready}}) {
    conditions.push_back(Condition(text, current, now));
  }
  return {{"addresses", Addresses(options)},
          {"capacity", capacity},
          {"allocatable", AmountsJson(options, machine)},
          {"conditions", std::move(conditions)},
          {"daemonEndpoints", {{"kubeletEndpoint", {{"Port", options.port}}}}},
          {"nodeInfo",
           {{"architecture", kArchitecture},
            {"bootID", machine.boot_id},
            {"containerRuntimeVersion", "process://0.1.0"},
            {"kernelVersion", machine.kernel},
            {"kubeProxyVersion", ""},
            {"kubeletVersion", kKubeletVersion},
            {"machineID", machine.machine_id},
            {"operatingSystem", "linux"},
            {"osImage", machine.os_image},
            {"systemUUID", machine.machine_id}}}};
}

bool NodeStatusDiffers(const Json& current, const Json& status) {
  return Essence(current) != Essence(status);
}

Json BuildLease(const std::string& node, const std::string& node_uid,
                absl::Time now) {
  Json meta = {{"name", node}, {"namespace", "kube-node-lease"}};
  if (!node_uid.empty()) {
    meta["ownerReferences"] = Json::array({{{"apiVersion", "v1"},
                                            {"kind", "Node"},
                                            {"name", node},
                                            {"uid", node_uid}}});
  }
  return {{"apiVersion", "coordination.k8s.io/v1"},
          {"kind", "Lease"},
          {"metadata", std::move(meta)},
          {"spec",
           {{"holderIdentity", node},
            {"leaseDurationSeconds", 40},
            {"renewTime",
             absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", now,
                              absl::UTCTimeZone())}}}};
}

}  // namespace fairlead::kubelet
