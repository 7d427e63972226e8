// SPDX-License-Identifier: Apache-2.0
// What a kubelet is told at its start. Plain values, const afterwards.
#ifndef FAIRLEAD_USERSPACE_KUBELET_OPTIONS_H_
#define FAIRLEAD_USERSPACE_KUBELET_OPTIONS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/kubelet/resources.h"
#include "userspace/kubelet/stats/pressure.h"

namespace fairlead::kubelet {

// PEM files: what the kubelet's server shows, and who signs its clients'
// certificates. All or none.
struct TlsFiles {
  std::string certificate, private_key, client_authority;
  bool complete() const {
    return !certificate.empty() && !private_key.empty() &&
           !client_authority.empty();
  }
};

struct Options {
  std::string node_name;
  std::vector<IpAddress> node_ips;  // v4, v6 or both; the first is preferred
  std::string root_dir = "/var/lib/fairlead/kubelet";
  std::string cgroup_root;
  std::string netns_dir = "/run/netns";
  std::string netns_prefix = "fl-pod-";  // a pod's is PREFIX + uid
  std::vector<IpPrefix> pod_cidrs;       // empty: from the Node's spec
  std::string uplink;                    // "": no routes to other nodes
  int max_pods = 110;
  int64_t pod_max_pids = 0;  // processes and threads of a pod; 0: any number
  std::map<std::string, std::string> labels;
  absl::Duration crash_backoff = absl::Seconds(10);
  absl::Duration max_crash_backoff = absl::Minutes(5);
  absl::Duration lease_interval = absl::Seconds(10);
  // Between two looks at what a pod's volumes are made of.
  absl::Duration sync_frequency = absl::Minutes(1);
  std::vector<Threshold> eviction_hard;
  ResourceAmounts reserved;  // of the machine, not for pods
  // Between two looks at the machine, and at its Node.
  absl::Duration status_interval = absl::Seconds(10);
  // How long a node's condition outlives the pressure.
  absl::Duration pressure_transition = absl::Minutes(5);
  Port port = 10250;  // of its server; 0: any
  // Of its server. None: the first node_ip with TLS, else loopback.
  std::optional<IpAddress> address;
  TlsFiles tls;  // of its server; empty: plain HTTP, without users
  size_t log_max_bytes = 10u << 20;  // of one file of a container's log
  int log_max_files = 5;
  std::string shim;          // path of fairlead-shim
  std::string default_path;  // PATH of containers that set none

  std::string PodsDir() const { return root_dir + "/pods"; }
  std::string NetnsOf(const std::string& uid) const {
    return netns_dir + "/" + netns_prefix + uid;
  }
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_OPTIONS_H_
