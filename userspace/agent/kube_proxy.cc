// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/kube_proxy.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/yaml.h"

namespace fairlead::agent {
namespace {

using Json = nlohmann::json;
using Shape = KubeProxySetting::Shape;

constexpr char kApiVersion[] = "kubeproxy.config.k8s.io/v1alpha1";
constexpr char kKind[] = "KubeProxyConfiguration";
// Nobody means a key that differs in more letters than these.
constexpr size_t kFarthest = 4;

// How many letters must be written, deleted or changed.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t same = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, same});
    }
  }
  return row.back();
}

// All keys that may be written in the map at `prefix` ("" or "iptables.").
std::set<std::string> KeysAt(std::string_view prefix) {
  std::set<std::string> keys;
  if (prefix.empty()) keys = {"apiVersion", "kind"};
  for (const KubeProxySetting& row : KubeProxySettings()) {
    if (row.path.empty() || row.path.substr(0, prefix.size()) != prefix) {
      continue;
    }
    std::string_view rest = row.path.substr(prefix.size());
    keys.emplace(rest.substr(0, rest.find('.')));
  }
  return keys;
}

std::string Nearest(std::string_view key, const std::set<std::string>& keys) {
  std::string nearest;
  size_t least = kFarthest + 1;
  for (const std::string& other : keys) {
    const size_t distance = Distance(key, other);
    if (distance < least) {
      least = distance;
      nearest = other;
    }
  }
  return nearest;
}

const KubeProxySetting* FindPath(std::string_view path) {
  for (const KubeProxySetting& row : KubeProxySettings()) {
    if (!row.path.empty() && row.path == path) return &row;
  }
  return nullptr;
}

std::string_view ShapeName(Shape shape) {
  constexpr std::string_view kNames[] = {"a string",   "true or false",
                                         "a number",   "a duration (\"30s\")",
                                         "a list of strings", "a map"};
  return kNames[static_cast<size_t>(shape)];
}

bool IsStrings(const Json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(),
                     [](const Json& each) { return each.is_string(); });
}

bool HasShape(const Json& value, Shape shape) {
  absl::Duration duration;
  switch (shape) {
    case Shape::kString:
      return value.is_string();
    case Shape::kBool:
      return value.is_boolean();
    case Shape::kInteger:
      return value.is_number();
    case Shape::kDuration:
      return value.is_string() &&
             absl::ParseDuration(value.get<std::string>(), &duration);
    case Shape::kStrings:
      return IsStrings(value);
    case Shape::kMap:
      return value.is_object() || value.is_array();
  }
  return false;
}

// The file's leaves, and what is wrong with them.
class Reader {
 public:
  void Read(const Json& map, const std::string& prefix) {
    const std::set<std::string> keys = KeysAt(prefix);
    for (const auto& [key, value] : map.items()) {
      const std::string path = prefix + key;
      if (!keys.contains(key)) {
        const std::string nearest = Nearest(key, keys);
        problems_.push_back(StrCat(
            "unknown key \"", path, "\"",
            nearest.empty() ? ""
                            : StrCat(": is \"", prefix, nearest, "\" meant?")));
      } else if (path != "apiVersion" && path != "kind" && !value.is_null()) {
        ReadKnown(path, value);
      }
    }
  }
  absl::StatusOr<KubeProxyValues> Take() && {
    if (problems_.empty()) return std::move(values_);
    return absl::InvalidArgumentError(absl::StrJoin(problems_, "; "));
  }

 private:
  void ReadKnown(const std::string& path, const Json& value) {
    const KubeProxySetting* row = FindPath(path);
    if (row == nullptr) {
      if (value.is_object()) {
        Read(value, path + ".");
      } else {
        problems_.push_back(StrCat(path, ": want a map"));
      }
    } else if (HasShape(value, row->shape)) {
      values_[row] = value;
    } else {
      problems_.push_back(
          StrCat(path, ": ",
                 value.dump(-1, ' ', false, Json::error_handler_t::replace),
                 ": want ", ShapeName(row->shape)));
    }
  }

  KubeProxyValues values_;
  std::vector<std::string> problems_;
};

std::string NameOf(const KubeProxySetting& row) {
  return row.path.empty() ? StrCat("--", row.flag) : std::string(row.path);
}

// "iptables" of "iptables.masqueradeAll", if that is a mode's section.
std::string_view ModeOf(const KubeProxySetting& row) {
  for (std::string_view mode : {"iptables", "nftables"}) {
    if (row.path.substr(0, mode.size()) == mode &&
        row.path.substr(mode.size(), 1) == ".") {
      return mode;
    }
  }
  return "";
}

std::string ChosenMode(const KubeProxyValues& values) {
  auto it = values.find(FindPath("mode"));
  // IPVS takes the settings of iptables, too.
  return it != values.end() && it->second == "nftables" ? "nftables"
                                                        : "iptables";
}

// Zero values say nothing: a file that was written by a tool has them all.
bool SaysNothing(const Json& value) {
  return value == "" || value == false || value == 0 || value == "0s" ||
         value.empty();
}

}  // namespace

absl::StatusOr<KubeProxyValues> ParseKubeProxyFile(std::string_view text) {
  FL_ASSIGN_OR_RETURN(std::vector<Json> documents, kube::JsonFromYaml(text));
  if (documents.size() != 1 || !documents[0].is_object()) {
    return absl::InvalidArgumentError(StrCat("want one ", kKind));
  }
  const Json& file = documents[0];
  if (file.value("apiVersion", Json()) != kApiVersion ||
      file.value("kind", Json()) != kKind) {
    return absl::InvalidArgumentError(
        StrCat("want apiVersion ", kApiVersion, " and kind ", kKind));
  }
  Reader reader;
  reader.Read(file, "");
  FL_ASSIGN_OR_RETURN(KubeProxyValues values, std::move(reader).Take());
  // Who doesn't say it means kube-proxy's own choice.
  values.try_emplace(FindPath("mode"), "");
  return values;
}

absl::StatusOr<KubeProxyValues> ReadKubeProxyFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return ErrnoStatus(errno, "open", path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  auto values = ParseKubeProxyFile(text);
  if (!values.ok()) return WithContext(values.status(), path);
  return values;
}

absl::StatusOr<Json> ParseKubeProxyFlag(const KubeProxySetting& setting,
                                        const std::string& text) {
  Json value = text;
  int64_t number = 0;
  double fraction = 0;
  bool flag = false;
  if (setting.shape == Shape::kBool && absl::SimpleAtob(text, &flag)) {
    value = flag;
  } else if (setting.shape == Shape::kInteger &&
             absl::SimpleAtoi(text, &number)) {
    value = number;
  } else if (setting.shape == Shape::kInteger &&
             absl::SimpleAtod(text, &fraction)) {
    value = fraction;
  } else if (setting.shape == Shape::kStrings) {
    value = std::vector<std::string>(absl::StrSplit(text, ','));
  } else if (setting.shape == Shape::kMap) {
    value = Json::array({text});
  }
  if (HasShape(value, setting.shape)) return value;
  return absl::InvalidArgumentError(StrCat("--", setting.flag, ": \"", text,
                                           "\": want ",
                                           ShapeName(setting.shape)));
}

absl::StatusOr<std::string> ApplyKubeProxyValues(const KubeProxyValues& values,
                                                 Flags* flags) {
  const std::string mode = ChosenMode(values);
  // In the order of the rows, so that the words don't change from run to run.
  std::vector<std::string> reasons;
  std::map<std::string, std::vector<std::string>> names;
  auto note = [&](const KubeProxySetting& row, std::string why) {
    if (!names.contains(why)) reasons.push_back(why);
    names[why].push_back(NameOf(row));
  };
  for (const KubeProxySetting& row : KubeProxySettings()) {
    auto it = values.find(&row);
    if (it == values.end()) continue;
    const std::string_view section = ModeOf(row);
    if (row.apply == nullptr) {
      if (!SaysNothing(it->second)) note(row, std::string(row.why));
    } else if (!section.empty() && section != mode) {
      if (!SaysNothing(it->second)) {
        note(row, StrCat("only for mode ", section));
      }
    } else {
      absl::Status status = row.apply(it->second, flags);
      if (!status.ok()) return WithContext(status, NameOf(row));
    }
  }
  std::vector<std::string> parts;
  for (const std::string& why : reasons) {
    parts.push_back(StrCat(absl::StrJoin(names[why], ", "), " (", why, ")"));
  }
  return absl::StrJoin(parts, "; ");
}

nlohmann::ordered_json ToKubeProxyConfiguration(const AgentConfig& config) {
  auto join = [](const std::vector<IpPrefix>& prefixes) {
    std::vector<std::string> texts;
    for (const IpPrefix& p : prefixes) texts.push_back(p.ToString());
    return texts;
  };
  std::vector<std::string> node_ports = join(config.nodeport_cidrs);
  if (config.nodeport_non_loopback) {
    node_ports.insert(node_ports.begin(), "non-loopback");
  }
  if (config.nodeport_primary) {
    node_ports.insert(node_ports.begin(), "primary");
  }
  const bool bridge =
      config.pod_detection == PodDetection::kBridgeInterface;
  return {
      {"kind", kKind},
      {"apiVersion", kApiVersion},
      {"hostnameOverride", config.node_name},
      {"healthzBindAddress", ToText(config.healthz)},
      {"metricsBindAddress", ToText(config.metrics)},
      {"bindAddressHardFail", config.bind_address_hard_fail},
      {"mode", kProxyMode},
      {"clusterCIDR", absl::StrJoin(join(config.cluster_cidrs), ",")},
      {"nodePortAddresses", node_ports},
      {"detectLocalMode", PodDetectionName(config.pod_detection)},
      {"detectLocal",
       {{"bridgeInterface", bridge ? config.pod_interface : ""},
        {"interfaceNamePrefix", bridge ? "" : config.pod_interface}}},
      {"iptables",
       {{"masqueradeAll", config.masquerade_all},
        {"masqueradeBit", config.masquerade_bit}}},
  };
}

}  // namespace fairlead::agent
