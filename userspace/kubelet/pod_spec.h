// SPDX-License-Identifier: Apache-2.0
// The parts of a Pod (core/v1) that running it needs, as decoded values.
// Values only: copy and share freely.
#ifndef FAIRLEAD_USERSPACE_KUBELET_POD_SPEC_H_
#define FAIRLEAD_USERSPACE_KUBELET_POD_SPEC_H_

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/kube/host_ports.h"
#include "userspace/kubelet/resources.h"
#include "userspace/kubelet/security_context.h"
#include "userspace/kubelet/volumes/volume.h"

namespace fairlead::kubelet {

enum class RestartPolicy { kAlways, kOnFailure, kNever };

// What a probe or a lifecycle hook does.
struct Action {
  enum class Type { kNone, kExec, kHttpGet, kTcpSocket, kGrpc, kSleep };
  Type type = Type::kNone;
  std::vector<std::string> command;  // kExec
  std::string host;                  // "": the pod's address
  Port port = 0;  // named ports are resolved; 0: no such port
  std::string path = "/";
  bool https = false;
  std::vector<std::pair<std::string, std::string>> headers;
  // Of a lifecycle hook, to which any answer will do, as in Kubernetes.
  bool hook = false;
  absl::Duration sleep;  // kSleep
  std::string service;   // kGrpc; "": the server as a whole
};

struct Probe {
  Action action;
  absl::Duration initial_delay = absl::ZeroDuration();
  absl::Duration period = absl::Seconds(10);
  absl::Duration timeout = absl::Seconds(1);
  int success_threshold = 1;
  int failure_threshold = 3;
  std::optional<absl::Duration> grace;  // instead of the pod's, when it kills
};

struct EnvVar {
  enum class Source {
    kValue,
    kField,
    kResource,
    kConfigMap,
    kSecret,
    kUnsupported
  };
  std::string name;
  Source source = Source::kValue;
  std::string value;  // kValue: text with $(VAR); kField: the path
  std::string object, key;  // kConfigMap, kSecret
  std::optional<ResourceRef> resource;  // kResource
  bool optional = false;
};

struct EnvFrom {
  bool secret = false;
  std::string object, prefix;
  bool optional = false;
};

// A sidecar is an init container that goes on running beside the others.
enum class ContainerRole { kApp, kInit, kSidecar };

struct ContainerSpec {
  std::string name;
  std::string image;
  std::vector<std::string> command, args;
  std::vector<EnvVar> env;
  std::vector<EnvFrom> env_from;
  std::string working_dir;
  std::optional<Probe> readiness, liveness, startup;
  std::optional<Action> post_start, pre_stop;
  SecurityContext security;  // the pod's and its own
  Resources resources;
  std::vector<VolumeMount> mounts;
  ContainerRole role = ContainerRole::kApp;
  std::string message_path;  // of its termination message; never empty
  bool message_from_log = false;  // terminationMessagePolicy
};

struct PodSpec {
  std::string ns, name, uid;
  std::string node_name;
  std::string service_account;
  std::string hostname;  // never empty
  std::map<std::string, std::string> labels, annotations;
  bool host_network = false;
  std::vector<kube::HostPort> host_ports;
  // What a node under pressure asks: no amounts at all, and a toleration.
  bool best_effort = true, tolerates_memory_pressure = false;
  bool service_links = true;  // enableServiceLinks
  int64_t priority = 0;
  std::optional<int64_t> fs_group;  // checked with the containers' groups
  std::vector<Volume> volumes;
  RestartPolicy restart_policy = RestartPolicy::kAlways;
  absl::Duration grace = absl::Seconds(30);
  std::optional<absl::Duration> active_deadline;  // from the pod's start
  std::vector<ContainerSpec> init_containers, containers;
  std::vector<std::string> readiness_gates;
  // Set once the pod is to go: when it must be gone, and the grace it has.
  std::optional<absl::Time> deletion_deadline;
  absl::Duration deletion_grace;

  // "name_namespace(uid)", as the kubelet's messages have it.
  std::string LongName() const;
  const ContainerSpec* Find(std::string_view container) const;
};

[[nodiscard]] absl::StatusOr<PodSpec> DecodePod(const nlohmann::json& pod);

// Whether this runtime can run `image`: "host", with or without a tag.
bool IsHostImage(std::string_view image);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_POD_SPEC_H_
