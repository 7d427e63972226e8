// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/node_ipam.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

int NodeBits(IpFamily family) { return family == IpFamily::kIpv4 ? 24 : 64; }

// The `index`-th node range of `cluster`.
IpPrefix NodePrefix(const IpPrefix& cluster, uint64_t index) {
  IpAddress::Bytes bytes = cluster.address().bytes();
  int bits = NodeBits(cluster.family());
  // In the 16-byte form an IPv4 /24 ends at bit 120.
  int last_byte = (cluster.family() == IpFamily::kIpv4 ? 96 + bits : bits) / 8;
  for (int i = last_byte - 1; i >= 0 && index > 0; --i) {
    uint64_t sum = bytes[i] + (index & 0xff);
    bytes[i] = static_cast<uint8_t>(sum);
    index = (index >> 8) + (sum >> 8);
  }
  return IpPrefix(IpAddress(bytes), bits);
}

uint64_t NodeCount(const IpPrefix& cluster) {
  int spare = NodeBits(cluster.family()) - cluster.bits();
  return spare >= 32 ? uint64_t{1} << 32 : uint64_t{1} << spare;
}

std::vector<IpPrefix> PodCidrs(const Json& node) {
  std::vector<IpPrefix> result;
  const Json& cidrs = Get(node, {"spec", "podCIDRs"});
  if (!cidrs.is_array()) return result;
  for (const Json& cidr : cidrs) {
    const auto* text = cidr.get_ptr<const std::string*>();
    if (text == nullptr) continue;
    if (auto prefix = IpPrefix::Parse(*text); prefix.ok()) {
      result.push_back(*prefix);
    }
  }
  return result;
}

bool Overlap(const IpPrefix& a, const IpPrefix& b) {
  return a.family() == b.family() &&
         (a.Contains(b.address()) || b.Contains(a.address()));
}

std::optional<IpPrefix> LowestFree(const IpPrefix& cluster,
                                   const std::vector<IpPrefix>& used) {
  std::set<IpPrefix> exact(used.begin(), used.end());
  // At most used.size() candidates are taken by ranges of node size; odd
  // sizes may take more.
  for (uint64_t i = 0; i < NodeCount(cluster); ++i) {
    IpPrefix candidate = NodePrefix(cluster, i);
    if (exact.contains(candidate)) continue;
    if (std::none_of(used.begin(), used.end(), [&](const IpPrefix& u) {
          return Overlap(u, candidate);
        })) {
      return candidate;
    }
  }
  return std::nullopt;
}

}  // namespace

absl::Status CheckClusterCidrs(const std::vector<IpPrefix>& cluster_cidrs) {
  std::set<IpFamily> families;
  for (const IpPrefix& cidr : cluster_cidrs) {
    if (!families.insert(cidr.family()).second) {
      return absl::InvalidArgumentError(
          StrCat("cluster CIDR ", cidr.ToString(), ": a second range of ",
                 IpFamilyName(cidr.family())));
    }
    if (cidr.bits() > NodeBits(cidr.family())) {
      return absl::InvalidArgumentError(
          StrCat("cluster CIDR ", cidr.ToString(), ": a node needs a /",
                 NodeBits(cidr.family())));
    }
  }
  return absl::OkStatus();
}

Plan PlanPodCidrs(const Object& node, const std::vector<Object>& nodes,
                  const std::vector<IpPrefix>& cluster_cidrs) {
  Plan plan;
  if (cluster_cidrs.empty() || IsTerminating(*node) ||
      !PodCidrs(*node).empty() ||
      !Text(*node, {"spec", "podCIDR"}).empty()) {
    return plan;
  }
  std::vector<IpPrefix> used;
  for (const Object& other : nodes) {
    for (const IpPrefix& cidr : PodCidrs(*other)) used.push_back(cidr);
  }
  Json chosen = Json::array();
  for (const IpPrefix& cluster : cluster_cidrs) {
    std::optional<IpPrefix> free = LowestFree(cluster, used);
    if (!free) {
      plan.announcements.push_back(Announce(
          kube::Nodes(), *node, kube::EventType::kWarning,
          "CIDRNotAvailable",
          StrCat("Node ", Name(*node), " status is now: CIDRNotAvailable")));
      plan.again = absl::Seconds(30);
      return plan;
    }
    chosen.push_back(free->ToString());
  }
  Json spec = {{"podCIDR", chosen[0]}, {"podCIDRs", chosen}};
  plan.writes.push_back(PatchOf(kube::Nodes(), *node, {{"spec", spec}}));
  return plan;
}

NodeIpamController::NodeIpamController(const Context& context,
                                       std::vector<IpPrefix> cluster_cidrs)
    : context_(context),
      cluster_cidrs_(std::move(cluster_cidrs)),
      shell_(
          context, "cidrAllocator",
          [this](const std::string& key, const Shell::Answers&) {
            kube::Informer& nodes = context_.informers->Of(kube::Nodes());
            Object node = nodes.Get(key);
            if (node == nullptr) return Plan();
            std::vector<Object> all;
            nodes.ForEach([&](const Object& o) { all.push_back(o); });
            return PlanPodCidrs(node, all, cluster_cidrs_);
          },
          // One at a time: each choice must see the one before.
          /*parallel=*/1) {
  if (cluster_cidrs_.empty()) return;
  context.informers->Of(kube::Nodes())
      .Subscribe([this](const Object&, const Object& after) {
        if (after != nullptr) shell_.Add(kube::KeyOf(*after));
      });
}

}  // namespace fairlead::controllers
