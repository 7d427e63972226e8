// SPDX-License-Identifier: Apache-2.0
// A real agent on node1 of a Topology, fed by a stub API server with
// Kubernetes objects, with servers behind all endpoints: what tests of
// services on real packets stand on.
//
// Create it on the main thread before any other thread; one at a time in a
// process. Clients are the process' own sockets: those made while OnSocketPath
// lives are translated by the socket path, the others by the packet path.
#ifndef FAIRLEAD_TESTS_NETNS_SERVICE_BED_H_
#define FAIRLEAD_TESTS_NETNS_SERVICE_BED_H_

#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/scopes.h"
#include "tests/harness/stub_api.h"
#include "tests/netns/endpoint_server.h"
#include "tests/netns/topology.h"

namespace fairlead::harness {

// A Service with a port for TCP and one for UDP (and one for SCTP), of both
// families, reachable in all four ways. `number` (1..250) gives all its
// addresses.
struct ServiceSpec {
  int number = 1;
  bool sctp = false;
  bool internal_local = false;
  bool external_local = false;
  // Names of stations: "l1", "r1". Marked "l1:terminating" (still serving),
  // "l1:dead" (terminating, not serving), "l1:unready". Hints follow:
  // "l1/zone=a", "l1:unready/zone=a/node=node1".
  std::vector<std::string> endpoints;
  std::vector<std::string> source_ranges;
  int affinity_seconds = 0;  // 0: none
  // As in Kubernetes, or "Headless". What a type hasn't (NodePorts, LB VIPs, a
  // ClusterIP), the object hasn't.
  std::string type = "LoadBalancer";
  int node_port = 0;  // 0: the one of FrontendOf()
  int vip = 0;        // 0: of `number`; else of this one
  bool external_ips = true;
  int health_check_port = 0;  // 0: none
  std::string traffic_distribution = "";
  // A port 81 to the same endpoints.
  bool more_ports = false;
  // Behind each port's name, "tcp" and so on; and behind those in the slices,
  // where other names may stand beside them.
  std::string port_names = "";
  std::vector<std::string> slice_port_names = {""};
  enum class Slices { kOne, kOneEach, kTwice } slices = Slices::kOne;

  std::string name() const { return "s" + std::to_string(number); }
};

enum class Way { kClusterIp, kNodePort, kLoadBalancer, kExternalIp };
constexpr Way kWays[] = {Way::kClusterIp, Way::kNodePort, Way::kLoadBalancer,
                         Way::kExternalIp};
const char* WayName(Way way);

// Where a client finds the service; a NodePort on node1's own address.
L4Address FrontendOf(int number, Way way, IpFamily family, Protocol protocol);

class ServiceBed {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ServiceBed>> Create();
  ServiceBed(const ServiceBed&) = delete;
  ServiceBed& operator=(const ServiceBed&) = delete;
  // Stops the agent and removes what it left in the kernel.
  ~ServiceBed();

  const Topology& net() const { return *topology_; }
  // The agent's --bpf-root.
  std::string bpf_root() const { return bpffs_->path() + "/agent"; }

  // Ends the agent; what it has put into the kernel stays.
  void StopAgent(int signal = SIGTERM);
  // Starts the agent (ends the one before; its flows go too), waits until it
  // is healthy. Default flags: --cluster-cidr for both families.
  [[nodiscard]] absl::Status StartAgent(
      const std::vector<std::string>& flags = ClusterCidrs());
  // Ends it, and removes what it left.
  void EndAgent();
  // Whether it has ended by itself.
  [[nodiscard]] bool AgentHasEnded();
  // Runs the agent's program on the node until it ends: its exit code.
  [[nodiscard]] int RunAgent(const std::vector<std::string>& flags);
  // The same, in the background; its process.
  [[nodiscard]] int Spawn(const std::vector<std::string>& flags);
  // Ends the agent by this signal, and starts it over what it left; or over
  // what TakeOverWithOtherLayout() did. Waits until it is healthy.
  [[nodiscard]] absl::Status RestartAgent(
      int signal, const std::vector<std::string>& flags = ClusterCidrs());
  // Ends the agent; a version with other layouts takes over (see
  // other_datapath.cc). What it says of it.
  [[nodiscard]] absl::StatusOr<std::string> TakeOverWithOtherLayout();
  static std::vector<std::string> ClusterCidrs() {
    return {"--cluster-cidr", "10.244.0.0/16,fd44::/16"};
  }

  // How many events that is.
  int Put(const ServiceSpec& spec);
  // Puts and waits until the agent has taken note.
  [[nodiscard]] absl::Status Apply(const std::vector<ServiceSpec>& specs);
  // The same for an agent that may end meanwhile.
  void ApplyOrEnd(const ServiceSpec& spec);
  // Deletes the Service and its slices, and waits.
  [[nodiscard]] absl::Status Remove(int number);
  // node1's Node, with the ranges of its pods. `spec`: further fields of it,
  // beginning with a comma.
  void PutNode(const std::string& zone = "", const std::string& spec = "");
  // Makes a change of any objects, which is as many events as it returns, and
  // waits until the agent has taken note.
  [[nodiscard]] absl::Status AndWait(const std::function<int()>& change);
  StubApi& api() { return *api_; }

  // Packets counted under a reason of bpf/abi/counters.def, in lower case as
  // metrics have it.
  double Counter(const std::string& reason);
  std::map<std::string, double> Counters();
  // A metric of the agent's, summed over its labels.
  double Metric(const std::string& name);
  std::string Log() const;

  // Sockets made while one lives are the socket path's.
  class OnSocketPath {
   public:
    explicit OnSocketPath(const ServiceBed& bed) : bed_(bed) {
      (void)bed_.followed_->Join();
    }
    ~OnSocketPath() { (void)bed_.plain_->Join(); }

   private:
    const ServiceBed& bed_;
  };

 private:
  ServiceBed() = default;
  [[nodiscard]] absl::Status Build();
  [[nodiscard]] absl::Status LaunchAgent(const std::vector<std::string>& flags);
  void Cleanup();
  // The body of an HTTP answer of the agent; "" if there is none.
  std::string Get(int port, const std::string& path);
  int Delete(int number);

  std::optional<BpffsScope> bpffs_;
  std::optional<TempDirScope> dir_;
  std::optional<CgroupScope> plain_;
  std::optional<CgroupScope> followed_;
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<StubApi> api_;
  std::unique_ptr<EndpointServer> server_;
  std::map<int, std::set<std::string>> slices_;  // of each Service
  int agent_ = 0;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_SERVICE_BED_H_
