// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/pod_spec.h"

#include "absl/strings/numbers.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

std::vector<std::string> Strings(const Json& list) {
  std::vector<std::string> result;
  for (const Json& item : list) {
    if (item.is_string()) result.push_back(item.get<std::string>());
  }
  return result;
}

std::map<std::string, std::string> StringMap(const Json& object) {
  std::map<std::string, std::string> result;
  if (!object.is_object()) return result;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) result[key] = value.get<std::string>();
  }
  return result;
}

// A number, a name among the container's ports, or digits in a string.
Port DecodePort(const Json& port, const Json& container) {
  if (port.is_number()) return static_cast<Port>(port.get<int64_t>());
  if (!port.is_string()) return 0;
  const std::string name = port.get<std::string>();
  for (const Json& candidate : At(container, {"ports"})) {
    if (StringAt(candidate, {"name"}) == name)
      return static_cast<Port>(IntAt(candidate, {"containerPort"}));
  }
  int number = 0;
  return absl::SimpleAtoi(name, &number) ? static_cast<Port>(number) : 0;
}

Action DecodeAction(const Json& json, const Json& container) {
  Action action;
  if (const Json& exec = At(json, {"exec"}); exec.is_object()) {
    action.type = Action::Type::kExec;
    action.command = Strings(At(exec, {"command"}));
  } else if (const Json& get = At(json, {"httpGet"}); get.is_object()) {
    action.type = Action::Type::kHttpGet;
    action.host = StringAt(get, {"host"});
    action.path = StringAt(get, {"path"}, "/");
    if (!action.path.starts_with("/"))
      action.path = StrCat("/", action.path);
    action.port = DecodePort(At(get, {"port"}), container);
    action.https = StringAt(get, {"scheme"}) == "HTTPS";
    for (const Json& header : At(get, {"httpHeaders"}))
      action.headers.emplace_back(StringAt(header, {"name"}),
                                  StringAt(header, {"value"}));
  } else if (const Json& tcp = At(json, {"tcpSocket"}); tcp.is_object()) {
    action.type = Action::Type::kTcpSocket;
    action.host = StringAt(tcp, {"host"});
    action.port = DecodePort(At(tcp, {"port"}), container);
  } else if (const Json& sleep = At(json, {"sleep"}); sleep.is_object()) {
    action.type = Action::Type::kSleep;
    action.sleep = absl::Seconds(IntAt(sleep, {"seconds"}));
  } else if (const Json& grpc = At(json, {"grpc"}); grpc.is_object()) {
    action.type = Action::Type::kGrpc;
    action.port = DecodePort(At(grpc, {"port"}), container);
    action.service = StringAt(grpc, {"service"});
  }
  return action;
}

std::optional<Action> DecodeHook(const Json& container, const char* which) {
  const Json& json = At(container, {"lifecycle", which});
  if (!json.is_object()) return std::nullopt;
  Action hook = DecodeAction(json, container);
  hook.hook = true;
  return hook;
}

std::optional<Probe> DecodeProbe(const Json& json, const Json& container) {
  if (!json.is_object()) return std::nullopt;
  const auto positive = [&](const char* key, int64_t otherwise) {
    return std::max<int64_t>(1, IntAt(json, {key}, otherwise));
  };
  Probe probe;
  probe.action = DecodeAction(json, container);
  probe.initial_delay = absl::Seconds(IntAt(json, {"initialDelaySeconds"}));
  probe.period = absl::Seconds(positive("periodSeconds", 10));
  probe.timeout = absl::Seconds(positive("timeoutSeconds", 1));
  probe.success_threshold = static_cast<int>(positive("successThreshold", 1));
  probe.failure_threshold = static_cast<int>(positive("failureThreshold", 3));
  if (At(json, {"terminationGracePeriodSeconds"}).is_number()) {
    probe.grace =
        absl::Seconds(IntAt(json, {"terminationGracePeriodSeconds"}));
  }
  return probe;
}

EnvVar DecodeEnv(const Json& json) {
  EnvVar env{.name = StringAt(json, {"name"}),
             .value = StringAt(json, {"value"})};
  const Json& from = At(json, {"valueFrom"});
  if (!from.is_object()) return env;
  if (const Json& field = At(from, {"fieldRef"}); field.is_object()) {
    env.source = EnvVar::Source::kField;
    env.value = StringAt(field, {"fieldPath"});
    return env;
  }
  if (const Json& ref = At(from, {"resourceFieldRef"}); ref.is_object()) {
    env.source = EnvVar::Source::kResource;
    env.resource = DecodeResourceRef(ref);
    return env;
  }
  for (const auto& [key, source] :
       {std::pair{"configMapKeyRef", EnvVar::Source::kConfigMap},
        std::pair{"secretKeyRef", EnvVar::Source::kSecret}}) {
    const Json& ref = At(from, {key});
    if (!ref.is_object()) continue;
    env.source = source;
    env.object = StringAt(ref, {"name"});
    env.key = StringAt(ref, {"key"});
    env.optional = BoolAt(ref, {"optional"});
    return env;
  }
  env.source = EnvVar::Source::kUnsupported;
  return env;
}

// `security` is the pod's securityContext.
ContainerSpec DecodeContainer(const Json& json, const Json& security) {
  ContainerSpec container;
  container.name = StringAt(json, {"name"});
  container.image = StringAt(json, {"image"});
  container.command = Strings(At(json, {"command"}));
  container.args = Strings(At(json, {"args"}));
  container.working_dir = StringAt(json, {"workingDir"});
  for (const Json& env : At(json, {"env"}))
    container.env.push_back(DecodeEnv(env));
  for (const Json& from : At(json, {"envFrom"})) {
    const bool secret = At(from, {"secretRef"}).is_object();
    const Json& ref = At(from, {secret ? "secretRef" : "configMapRef"});
    container.env_from.push_back({.secret = secret,
                                  .object = StringAt(ref, {"name"}),
                                  .prefix = StringAt(from, {"prefix"}),
                                  .optional = BoolAt(ref, {"optional"})});
  }
  container.readiness = DecodeProbe(At(json, {"readinessProbe"}), json);
  container.liveness = DecodeProbe(At(json, {"livenessProbe"}), json);
  container.startup = DecodeProbe(At(json, {"startupProbe"}), json);
  container.post_start = DecodeHook(json, "postStart");
  container.pre_stop = DecodeHook(json, "preStop");
  container.message_path =
      StringAt(json, {"terminationMessagePath"}, "/dev/termination-log");
  container.message_from_log =
      StringAt(json, {"terminationMessagePolicy"}) == "FallbackToLogsOnError";
  container.resources = DecodeResources(At(json, {"resources"}));
  for (const Json& mount : At(json, {"volumeMounts"}))
    container.mounts.push_back(DecodeVolumeMount(mount));
  container.security =
      DecodeSecurityContext(security, At(json, {"securityContext"}));
  return container;
}

bool IsFileName(std::string_view name) {
  return !name.empty() && name.find('/') == std::string::npos &&
         !name.starts_with(".");
}

void DecodeDeletion(const Json& pod, PodSpec* spec) {
  const std::string when = StringAt(pod, {"metadata", "deletionTimestamp"});
  absl::Time deadline;
  if (when.empty() ||
      !absl::ParseTime(absl::RFC3339_full, when, &deadline, nullptr)) {
    return;
  }
  spec->deletion_deadline = deadline;
  spec->deletion_grace = absl::Seconds(
      IntAt(pod, {"metadata", "deletionGracePeriodSeconds"}, 30));
}

RestartPolicy DecodeRestartPolicy(const std::string& text) {
  if (text == "Never") return RestartPolicy::kNever;
  if (text == "OnFailure") return RestartPolicy::kOnFailure;
  return RestartPolicy::kAlways;
}

bool ToleratesMemoryPressure(const Json& body) {
  for (const Json& toleration : At(body, {"tolerations"})) {
    const std::string key = StringAt(toleration, {"key"});
    const std::string effect = StringAt(toleration, {"effect"});
    const bool exists = StringAt(toleration, {"operator"}) == "Exists";
    // The taint has no value.
    const bool same = key == "node.kubernetes.io/memory-pressure" &&
                      (exists || StringAt(toleration, {"value"}).empty());
    if ((same || (key.empty() && exists)) &&
        (effect.empty() || effect == "NoSchedule")) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string PodSpec::LongName() const {
  return StrCat(name, "_", ns, "(", uid, ")");
}

const ContainerSpec* PodSpec::Find(std::string_view container) const {
  for (const auto* list : {&init_containers, &containers}) {
    for (const ContainerSpec& c : *list) {
      if (c.name == container) return &c;
    }
  }
  return nullptr;
}

absl::StatusOr<PodSpec> DecodePod(const Json& pod) {
  PodSpec spec;
  spec.ns = StringAt(pod, {"metadata", "namespace"});
  spec.name = StringAt(pod, {"metadata", "name"});
  spec.uid = StringAt(pod, {"metadata", "uid"});
  if (spec.ns.empty() || spec.name.empty() || spec.uid.empty())
    return absl::InvalidArgumentError("pod without namespace, name or uid");
  // They become parts of paths.
  for (const std::string* part : {&spec.ns, &spec.name, &spec.uid}) {
    if (!IsFileName(*part))
      return absl::InvalidArgumentError(StrCat("unusable name ", *part));
  }
  const Json& body = At(pod, {"spec"});
  spec.node_name = StringAt(body, {"nodeName"});
  spec.service_account = StringAt(body, {"serviceAccountName"});
  spec.hostname = StringAt(body, {"hostname"}, spec.name);
  if (spec.hostname.size() > 63) spec.hostname.resize(63);
  spec.labels = StringMap(At(pod, {"metadata", "labels"}));
  spec.annotations = StringMap(At(pod, {"metadata", "annotations"}));
  spec.host_network = BoolAt(body, {"hostNetwork"});
  spec.host_ports = kube::HostPortsOf(pod);
  spec.tolerates_memory_pressure = ToleratesMemoryPressure(body);
  spec.service_links = BoolAt(body, {"enableServiceLinks"}, true);
  spec.priority = IntAt(body, {"priority"});
  spec.restart_policy = DecodeRestartPolicy(StringAt(body, {"restartPolicy"}));
  spec.grace =
      absl::Seconds(IntAt(body, {"terminationGracePeriodSeconds"}, 30));
  const Json& security = At(body, {"securityContext"});
  for (const Json& c : At(body, {"initContainers"})) {
    spec.init_containers.push_back(DecodeContainer(c, security));
    spec.init_containers.back().role =
        StringAt(c, {"restartPolicy"}) == "Always" ? ContainerRole::kSidecar
                                                   : ContainerRole::kInit;
  }
  if (const Json& limit = At(body, {"activeDeadlineSeconds"});
      limit.is_number()) {
    spec.active_deadline =
        absl::Seconds(IntAt(body, {"activeDeadlineSeconds"}));
  }
  for (const Json& c : At(body, {"containers"}))
    spec.containers.push_back(DecodeContainer(c, security));
  if (const Json& group = At(security, {"fsGroup"}); group.is_number())
    spec.fs_group = IntAt(security, {"fsGroup"});
  for (const Json& v : At(body, {"volumes"})) {
    spec.volumes.push_back(DecodeVolume(v));
    if (!IsFileName(spec.volumes.back().name)) {
      return absl::InvalidArgumentError(
          StrCat("unusable volume name \"", spec.volumes.back().name, "\""));
    }
  }
  for (const auto* list : {&spec.init_containers, &spec.containers}) {
    for (const ContainerSpec& c : *list) {
      if (!IsFileName(c.name) || c.name.starts_with("_")) {
        return absl::InvalidArgumentError(
            StrCat("unusable container name \"", c.name, "\""));
      }
      spec.best_effort = spec.best_effort && c.resources.requests.empty() &&
                         c.resources.limits.empty();
    }
  }
  for (const Json& gate : At(body, {"readinessGates"}))
    spec.readiness_gates.push_back(StringAt(gate, {"conditionType"}));
  DecodeDeletion(pod, &spec);
  return spec;
}

bool IsHostImage(std::string_view image) {
  return image == "host" || image.starts_with("host:");
}

}  // namespace fairlead::kubelet
