// SPDX-License-Identifier: Apache-2.0
// Who is a pod, by each way of telling (--detect-local-mode): the same
// policies, on the devices and addresses that a real agent finds.
#include "tests/netns/matrix.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

// Served as what it is for all modes but ClusterCIDR: not of this node, so
// outside.
constexpr Client kRemotePod = {"pod of another node", "r2", false,
                               Client::kOutside};
// Before its device has become a bridge's port.
constexpr Client kStranger = {"pod, not on the bridge", "a", false,
                              Client::kOutside};

const std::vector<Policy>& DetectorPolicies() {
  static const std::vector<Policy> policies = {
      {"Cluster", false, false, {"l1", "r1"},
       {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}},
      {"eTP Local", false, true, {"l1", "r1"},
       {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       {"l1+r1 kept", "l1+r1 masq", "l1 kept"}}};
  return policies;
}

// What a pod of another node gets with --node-pod-cidr: this node's endpoints,
// as from outside; its address is translated where a pod's would be. Not asked:
// an endpoint of another node that would answer it past this one.
const std::vector<Policy>& RemotePodPolicies() {
  static const std::vector<Policy> policies = {
      {"Cluster, all local", false, false, {"l1", "l2"},
       {nullptr, nullptr, "l1+l2 kept"},
       {nullptr, nullptr, "l1+l2 masq"}},
      {"eTP Local", false, true, {"l1", "r1"},
       {nullptr, nullptr, nullptr},
       {nullptr, nullptr, "l1 kept"}}};
  return policies;
}

class Detectors : public ServiceTest {
 protected:
  static std::vector<Client> AllClients() {
    std::vector<Client> clients = Clients();
    clients.push_back(kRemotePod);
    return clients;
  }

  static void Check(const std::string& name,
                    const std::vector<std::string>& flags) {
    ASSERT_OK(bed_->StartAgent(flags));
    Matrix matrix(name, bed_.get());
    matrix.Run(AllClients(), DetectorPolicies());
    matrix.Finish();
  }

  static void OnNode(const std::string& commands) {
    ASSERT_OK(
        bed_->net().node().netns.Command("set -e; " + commands).status());
  }
};

TEST_F(Detectors, NodeCidr) {
  bed_->PutNode();
  Check("--detect-local-mode NodeCIDR", {"--detect-local-mode", "NodeCIDR"});
}

TEST_F(Detectors, InterfaceNamePrefix) {
  Check("--detect-local-mode InterfaceNamePrefix",
        {"--detect-local-mode", "InterfaceNamePrefix",
         "--pod-interface-name-prefix", "pod-"});
}

TEST_F(Detectors, ClusterCidrThatKnowsThisNodesPods) {
  bed_->PutNode();
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.insert(flags.end(), {"--node-pod-cidr", "auto"});
  ASSERT_OK(bed_->StartAgent(flags));
  Matrix matrix("ClusterCIDR with --node-pod-cidr auto", bed_.get());
  matrix.Run(Clients(), DetectorPolicies());
  matrix.Run({kRemotePod}, RemotePodPolicies());
  matrix.Finish();
}

// A pod's device becomes a port while the agent runs: with that, and not
// before, it is a pod.
class BridgeDetector : public Detectors {
 protected:
  // Its routes and its gateway's addresses go to the bridge.
  static void Join(const Station& pod) {
    const std::string port = "pod-" + pod.name;
    std::string commands = StrCat("ip addr flush dev ", port,
                                  "; ip link set ", port, " master br0");
    for (IpFamily family : kFamilies) {
      StrAppend(&commands, "; ip route replace ",
                pod.address(family).ToString(), " dev br0 src ",
                bed_->net().node().address(family).ToString());
    }
    OnNode(commands);
  }

  static void MakeBridge() {
    OnNode(
        "ip link add br0 type bridge; ip link set br0 up; "
        "ip addr add 10.244.1.1/32 dev br0; "
        "ip addr add fd44:1::1/128 dev br0 nodad");
  }

  static const std::vector<std::string>& Flags() {
    static const std::vector<std::string> flags = {
        "--detect-local-mode", "BridgeInterface", "--pod-bridge-interface",
        "br0"};
    return flags;
  }
};

TEST_F(BridgeDetector, APortThatJoinsLater) {
  ASSERT_NO_FATAL_FAILURE(MakeBridge());
  for (const char* name : {"l1", "l2"}) {
    ASSERT_NO_FATAL_FAILURE(Join(bed_->net().at(name)));
  }
  ASSERT_OK(bed_->StartAgent(Flags()));
  Matrix matrix("--detect-local-mode BridgeInterface", bed_.get());
  matrix.Run({kStranger, Clients()[2], Clients()[3]}, DetectorPolicies());
  ASSERT_NO_FATAL_FAILURE(Join(bed_->net().at("a")));
  // The agent hears of it a moment later.
  const Attempt ask = {.to = FrontendOf(10, Way::kClusterIp, IpFamily::kIpv4,
                                        Protocol::kUdp)};
  ASSERT_TRUE(Eventually([&] {
    Attempt once = ask;
    once.source_port = NextSourcePort();
    return Ask(bed_->net().at("a"), once).source ==
           bed_->net().at("a").v4.ToString();
  }));
  matrix.Run(AllClients(), DetectorPolicies());
  matrix.Finish();
  if (HasFailure()) {
    auto state = bed_->net().node().netns.Command(
        "ip -6 neigh; ip -6 route show table all; bridge fdb; ip addr");
    printf("%s\n", state.ok() ? state->c_str() : state.status().ToString().c_str());
  }
}

}  // namespace
}  // namespace fairlead::harness
