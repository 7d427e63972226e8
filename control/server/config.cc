// SPDX-License-Identifier: Apache-2.0
#include "control/server/config.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "control/controllers/node_ipam.h"
#include "userspace/base/strings.h"

namespace fairlead::server {
namespace {

class Problems {
 public:
  void Add(std::string_view flag, std::string_view value,
           std::string_view what) {
    texts_.push_back(StrCat("--", flag, " ", value, ": ", what));
  }
  absl::Status ToStatus() const {
    if (texts_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrJoin(texts_, "\n"));
  }

 private:
  std::vector<std::string> texts_;
};

std::vector<std::string> Items(const std::vector<std::string>& values) {
  std::vector<std::string> items;
  for (const std::string& value : values) {
    for (absl::string_view item :
         absl::StrSplit(value, ',', absl::SkipEmpty())) {
      items.emplace_back(item);
    }
  }
  return items;
}

std::vector<IpPrefix> Prefixes(const char* flag,
                               const std::vector<std::string>& values,
                               Problems& problems) {
  std::vector<IpPrefix> prefixes;
  std::set<IpFamily> families;
  for (const std::string& text : Items(values)) {
    auto prefix = IpPrefix::Parse(text);
    if (!prefix.ok()) {
      problems.Add(flag, text, Std(prefix.status().message()));
    } else if (!families.insert(prefix->family()).second) {
      problems.Add(flag, text,
                   StrCat("a second range of ",
                          IpFamilyName(prefix->family())));
    } else {
      prefixes.push_back(*prefix);
    }
  }
  return prefixes;
}

absl::Duration Duration(const char* flag, const std::string& text,
                        Problems& problems) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) ||
      duration < absl::ZeroDuration()) {
    problems.Add(flag, text, "not a duration such as 40s or 5m");
  }
  return duration;
}

void NodePorts(const std::string& text, ControllerConfig& config,
               Problems& problems) {
  std::vector<std::string> ends = absl::StrSplit(text, '-');
  int first = 0, last = 0;
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &first) ||
      !absl::SimpleAtoi(ends[1], &last) || first < 1 || last > 65535 ||
      first > last) {
    problems.Add("node-port-range", text, "not a range such as 30000-32767");
    return;
  }
  config.node_port_first = static_cast<Port>(first);
  config.node_port_last = static_cast<Port>(last);
}

void CheckKubeletClient(const ControllerConfig& config, Problems& problems) {
  const KubeletClientOptions& files = config.kubelet_client;
  if (files.certificate.empty() != files.key.empty()) {
    problems.Add("kubelet-client-certificate", files.certificate,
                 "--kubelet-client-certificate and --kubelet-client-key "
                 "belong together");
  }
  if (config.serves_tls()) return;
  constexpr char kNoTls[] =
      "kubelets are spoken to over TLS only if --listen names an https:// "
      "address";
  if (!files.certificate.empty())
    problems.Add("kubelet-client-certificate", files.certificate, kNoTls);
  if (!files.authority.empty())
    problems.Add("kubelet-certificate-authority", files.authority, kNoTls);
}

}  // namespace

bool ControllerConfig::serves_tls() const {
  return std::any_of(listen.begin(), listen.end(),
                     [](const api::ListenAddress& one) { return one.tls; });
}

absl::StatusOr<ControllerConfig> ParseConfig(const Flags& flags) {
  Problems problems;
  ControllerConfig config;
  for (const std::string& text : Items(flags.listen)) {
    auto address = api::ListenAddress::Parse(text);
    if (address.ok()) {
      config.listen.push_back(*address);
    } else {
      problems.Add("listen", text, Std(address.status().message()));
    }
  }
  config.store = flags.store;
  config.restore = flags.restore;
  config.backups.folder = flags.backup_dir.empty()
                              ? StrCat(flags.store, ".backups")
                              : flags.backup_dir;
  config.backups.interval =
      Duration("backup-interval", flags.backup_interval, problems);
  if (flags.backup_keep < 1) {
    problems.Add("backup-keep", StrCat(flags.backup_keep), "at least 1");
  }
  config.backups.keep = static_cast<size_t>(flags.backup_keep);
  config.service_cidrs =
      Prefixes("service-cidr", flags.service_cidrs, problems);
  config.cluster_cidrs =
      Prefixes("cluster-cidr", flags.cluster_cidrs, problems);
  if (auto status = controllers::CheckClusterCidrs(config.cluster_cidrs);
      !status.ok()) {
    problems.Add("cluster-cidr", "", Std(status.message()));
  }
  NodePorts(flags.node_port_range, config, problems);
  config.node_monitor_grace_period =
      Duration("node-monitor-grace-period", flags.node_monitor_grace_period,
               problems);
  if (!flags.pod_eviction_timeout.empty()) {
    config.pod_eviction_timeout = Duration(
        "pod-eviction-timeout", flags.pod_eviction_timeout, problems);
  }
  config.write_kubeconfig = flags.write_kubeconfig;
  config.cert_dir = flags.cert_dir;
  if (config.cert_dir.empty()) {
    config.cert_dir =
        std::filesystem::path(flags.store).parent_path() / "pki";
  }
  config.kubelet_client = {.certificate = flags.kubelet_client_certificate,
                           .key = flags.kubelet_client_key,
                           .authority = flags.kubelet_certificate_authority};
  CheckKubeletClient(config, problems);
  for (const std::string& name : Items(flags.tls_sans)) {
    auto address = IpAddress::Parse(name);
    if (address.ok()) {
      config.tls_addresses.push_back(*address);
    } else {
      config.tls_names.push_back(name);
    }
  }
  if (!flags.advertise_address.empty()) {
    auto address = IpAddress::Parse(flags.advertise_address);
    if (!address.ok() || address->is_loopback() ||
        address->is_unspecified()) {
      problems.Add("advertise-address", flags.advertise_address,
                   "not an address that pods could reach");
    } else {
      config.advertise = *address;
      config.tls_addresses.push_back(*address);
    }
  }
  if (auto status = problems.ToStatus(); !status.ok()) return status;
  return config;
}

}  // namespace fairlead::server
