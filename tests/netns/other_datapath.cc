// SPDX-License-Identifier: Apache-2.0
// A node's data path in a version with other layouts of its maps
// (FL_ABI_TEST_LAYOUT): takes over what an agent left, says what it found, and
// ends; its programs and maps stay. It has no Services of its own: what it
// serves afterwards is what it took over.
#include <cstdio>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "userspace/base/netns.h"
#include "userspace/datapath/datapath.h"
#include "userspace/reconcile/plan.h"

static_assert(FL_ABI_VERSION == 1000);

namespace fairlead::datapath {
namespace {

int Run(int argc, char** argv) {
  CLI::App app("Takes a data path over as a version with other layouts does.");
  Options options;
  std::string cgroup;
  std::vector<std::string> node_ips, cluster_cidrs;
  app.add_option("--bpf-root", options.pin_root)->required();
  app.add_option("--cgroup-root", cgroup)->required();
  app.add_option("--node-ip", node_ips)->delimiter(',');
  app.add_option("--cluster-cidr", cluster_cidrs)->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  options.cgroup_root = cgroup;
  fl_config& config = options.config;
  for (const std::string& text : node_ips) {
    const IpAddress ip = *IpAddress::Parse(text);
    (ip.is_v4() ? config.masquerade4 : config.masquerade6) =
        reconcile::ToAbi(ip);
  }
  for (const std::string& text : cluster_cidrs) {
    const IpPrefix range = *IpPrefix::Parse(text);
    (range.family() == IpFamily::kIpv4 ? config.pods4 : config.pods6) =
        ToPrefix(range);
  }
  config.pod_detection = FL_PODS_BY_ADDRESS;
  config.node_port_min = 30000;
  config.node_port_max = 32767;
  config.source_port_min = 10240;
  config.source_port_max = 29999;
  config.mark = 1 << 12;  // as the agent's
  config.host_netns = NetnsCookie().value_or(0);
  auto datapath = Datapath::Open(options);
  if (!datapath.ok()) {
    fprintf(stderr, "%s\n", datapath.status().ToString().c_str());
    return 1;
  }
  const auto& upgrade = (*datapath)->upgrade();
  if (!upgrade.has_value() || !upgrade->status.ok()) {
    fprintf(stderr, "nothing taken over: %s\n",
            upgrade.has_value() ? upgrade->status.ToString().c_str()
                                : "no other version found");
    return 1;
  }
  printf("from=%s services=%llu backends=%llu flow_entries=%llu\n",
         upgrade->from.c_str(),
         static_cast<unsigned long long>(upgrade->copied.services),
         static_cast<unsigned long long>(upgrade->copied.backends),
         static_cast<unsigned long long>(upgrade->copied.flow_entries));
  return 0;
}

}  // namespace
}  // namespace fairlead::datapath

int main(int argc, char** argv) { return fairlead::datapath::Run(argc, argv); }
