// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/env.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

constexpr char kDefaultPath[] =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string Join(const std::vector<IpAddress>& addresses) {
  std::vector<std::string> texts;
  for (const IpAddress& a : addresses) texts.push_back(a.ToString());
  return absl::StrJoin(texts, ",");
}

std::string First(const std::vector<IpAddress>& addresses) {
  return addresses.empty() ? "" : addresses.front().ToString();
}

// "metadata.labels['app']" -> the value in `map`; `prefix` was matched.
std::string Subscript(std::string_view path, size_t prefix,
                      const std::map<std::string, std::string>& map) {
  path.remove_prefix(prefix);
  if (!path.starts_with("['") || !path.ends_with("']")) return "";
  const auto it = map.find(std::string(path.substr(2, path.size() - 4)));
  return it == map.end() ? "" : it->second;
}

// As Go's %q has it, as far as labels and annotations go.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n' || c == '\t' || c == '\r') {
      out += {'\\', c == '\n' ? 'n' : c == '\t' ? 't' : 'r'};
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string FormatMap(const std::map<std::string, std::string>& map) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : map)
    lines.push_back(StrCat(key, "=", Quoted(value)));
  return absl::StrJoin(lines, "\n");
}

// Ordered, with the later value of a name taking the earlier one's place.
class Environment {
 public:
  void Set(const std::string& name, std::string value) {
    if (values_.insert_or_assign(name, std::move(value)).second)
      order_.push_back(name);
  }
  const std::map<std::string, std::string>& values() const { return values_; }
  std::vector<std::string> Lines() const {
    std::vector<std::string> lines;
    for (const std::string& name : order_)
      lines.push_back(StrCat(name, "=", values_.at(name)));
    return lines;
  }

 private:
  std::vector<std::string> order_;
  std::map<std::string, std::string> values_;
};

absl::Status AddFrom(const EnvFrom& from, const EnvContext& context,
                     Environment* env) {
  auto object = context.lookup(from.secret, from.object);
  if (absl::IsNotFound(object.status()) && from.optional)
    return absl::OkStatus();
  if (!object.ok()) return object.status();
  for (const auto& [key, value] : *object)
    env->Set(StrCat(from.prefix, key), value);
  return absl::OkStatus();
}

// nullopt: an optional key that isn't there; the variable is left out.
absl::StatusOr<std::optional<std::string>> ValueOf(
    const EnvVar& var, const std::string& container, const EnvContext& context,
    const Environment& env) {
  switch (var.source) {
    case EnvVar::Source::kValue:
      return ExpandVariables(var.value, env.values());
    case EnvVar::Source::kField: {
      FL_ASSIGN_OR_RETURN(std::string value, FieldValue(context, var.value));
      return std::optional(std::move(value));
    }
    case EnvVar::Source::kResource: {
      FL_ASSIGN_OR_RETURN(std::string value,
                          ResourceValue(context, *var.resource, container));
      return std::optional(std::move(value));
    }
    case EnvVar::Source::kUnsupported:
      return absl::UnimplementedError(
          StrCat("env ", var.name, ": this source isn't supported"));
    case EnvVar::Source::kConfigMap:
    case EnvVar::Source::kSecret:
      break;
  }
  const bool secret = var.source == EnvVar::Source::kSecret;
  auto object = context.lookup(secret, var.object);
  if (object.ok()) {
    const auto it = object->find(var.key);
    if (it != object->end()) return std::optional(it->second);
    if (var.optional) return std::optional<std::string>();
    return absl::NotFoundError(
        StrCat("couldn't find key ", var.key, " in ",
               secret ? "Secret " : "ConfigMap ", context.pod->ns, "/",
               var.object));
  }
  if (absl::IsNotFound(object.status()) && var.optional)
    return std::optional<std::string>();
  return object.status();
}

}  // namespace

std::string ExpandVariables(std::string_view text,
                            const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const size_t end = text.find(')', i);
    if (text[i + 1] != '(' || end == std::string_view::npos) {
      out += '$';
      continue;
    }
    const std::string_view name = text.substr(i + 2, end - i - 2);
    const auto it = values.find(std::string(name));
    StrAppend(&out, it != values.end() ? std::string_view(it->second)
                                       : text.substr(i, end - i + 1));
    i = end;
  }
  return out;
}

std::map<std::string, std::string> ValuesOf(
    const std::vector<std::string>& env) {
  std::map<std::string, std::string> values;
  for (const std::string& line : env) {
    const size_t eq = line.find('=');
    values[line.substr(0, eq)] = line.substr(eq + 1);
  }
  return values;
}

absl::StatusOr<std::string> ResourceValue(const EnvContext& context,
                                          const ResourceRef& ref,
                                          const std::string& container) {
  const std::string& name = ref.container.empty() ? container : ref.container;
  const ContainerSpec* of = context.pod->Find(name);
  if (of == nullptr)
    return absl::InvalidArgumentError(StrCat("container ", name, " not found"));
  return ResourceFieldValue(ref, of->resources, context.allocatable);
}

absl::StatusOr<std::string> FieldValue(const EnvContext& context,
                                       std::string_view path) {
  const PodSpec& pod = *context.pod;
  if (path == "metadata.labels") return FormatMap(pod.labels);
  if (path == "metadata.annotations") return FormatMap(pod.annotations);
  if (path == "metadata.name") return pod.name;
  if (path == "metadata.namespace") return pod.ns;
  if (path == "metadata.uid") return pod.uid;
  if (path == "spec.nodeName") return pod.node_name;
  if (path == "spec.serviceAccountName") return pod.service_account;
  if (path == "status.podIP") return First(context.pod_ips);
  if (path == "status.podIPs") return Join(context.pod_ips);
  if (path == "status.hostIP") return First(context.host_ips);
  if (path == "status.hostIPs") return Join(context.host_ips);
  constexpr std::string_view kLabels = "metadata.labels";
  constexpr std::string_view kAnnotations = "metadata.annotations";
  if (path.starts_with(kLabels))
    return Subscript(path, kLabels.size(), pod.labels);
  if (path.starts_with(kAnnotations))
    return Subscript(path, kAnnotations.size(), pod.annotations);
  return absl::InvalidArgumentError(
      StrCat("fieldPath ", path, " isn't supported"));
}

absl::StatusOr<std::vector<std::string>> BuildEnv(
    const ContainerSpec& container, const EnvContext& context) {
  Environment env;
  env.Set("PATH",
          context.default_path.empty() ? kDefaultPath : context.default_path);
  env.Set("HOSTNAME", context.pod->hostname);
  env.Set("HOME", container.security.user.value_or(0) == 0 ? "/root" : "/");
  for (const auto& [name, value] : context.service_variables)
    env.Set(name, value);
  for (const EnvFrom& from : container.env_from)
    FL_RETURN_IF_ERROR(AddFrom(from, context, &env));
  for (const EnvVar& var : container.env) {
    FL_ASSIGN_OR_RETURN(std::optional<std::string> value,
                        ValueOf(var, container.name, context, env));
    if (value) env.Set(var.name, *std::move(value));
  }
  return env.Lines();
}

absl::StatusOr<std::vector<std::string>> BuildArgs(
    const ContainerSpec& container, const std::vector<std::string>& env) {
  const std::map<std::string, std::string> values = ValuesOf(env);
  std::vector<std::string> args;
  for (const auto* words : {&container.command, &container.args}) {
    for (const std::string& word : *words)
      args.push_back(ExpandVariables(word, values));
  }
  if (args.empty()) {
    return absl::InvalidArgumentError(
        "no command specified (the image \"host\" has none of its own)");
  }
  return args;
}

}  // namespace fairlead::kubelet
