// SPDX-License-Identifier: Apache-2.0
// What fairlead-controller is told on its command line.
#ifndef FAIRLEAD_CONTROL_SERVER_CONFIG_H_
#define FAIRLEAD_CONTROL_SERVER_CONFIG_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "control/api/server.h"
#include "control/server/backups.h"
#include "userspace/base/ip_address.h"

namespace fairlead::server {

// As written; lists may be repeated options or separated by commas.
struct Flags {
  std::vector<std::string> listen = {"127.0.0.1:6443"};
  std::string store = "/var/lib/fairlead/controller.db";
  std::string backup_dir;  // empty: STORE.backups
  std::string backup_interval = "1h";
  int backup_keep = 24;
  std::string restore;
  std::vector<std::string> service_cidrs = {"10.96.0.0/16"};
  std::vector<std::string> cluster_cidrs = {"10.244.0.0/16"};
  std::string node_port_range = "30000-32767";
  std::string node_monitor_grace_period = "40s";
  std::string pod_eviction_timeout;
  std::string write_kubeconfig;
  std::string cert_dir;
  std::vector<std::string> tls_sans;
  std::string advertise_address;
  std::string kubelet_client_certificate;
  std::string kubelet_client_key;
  std::string kubelet_certificate_authority;
  std::string log_level = "info";
};

// PEM files, in the place of what the cluster's own authority makes; empty:
// that.
struct KubeletClientOptions {
  std::string certificate, key;  // both or none
  std::string authority;         // of the kubelets' serving certificates
};

struct ControllerConfig {
  std::vector<api::ListenAddress> listen;
  std::string store;
  BackupOptions backups;
  std::string restore;  // put this backup in the store's place, and end
  std::vector<IpPrefix> service_cidrs;
  std::vector<IpPrefix> cluster_cidrs;
  Port node_port_first = 0;
  Port node_port_last = 0;
  absl::Duration node_monitor_grace_period;
  std::optional<absl::Duration> pod_eviction_timeout;
  std::string write_kubeconfig;  // empty: none
  std::string cert_dir;
  // Names and addresses that the serving certificate is for, besides its own.
  std::vector<std::string> tls_names;
  std::vector<IpAddress> tls_addresses;
  // What pods reach this server by; unset: the first of `listen` that is no
  // loopback.
  std::optional<IpAddress> advertise;

  KubeletClientOptions kubelet_client;

  bool serves_tls() const;
};

// kInvalidArgument, with all problems at once.
[[nodiscard]] absl::StatusOr<ControllerConfig> ParseConfig(const Flags& flags);

}  // namespace fairlead::server

#endif  // FAIRLEAD_CONTROL_SERVER_CONFIG_H_
