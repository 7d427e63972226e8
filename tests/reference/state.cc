// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/state.h"

#include <algorithm>
#include <tuple>

namespace fairlead::reference {
namespace {

bool IsForProxy(const kube::Service& s) {
  return !s.headless && !s.other_proxy && !s.cluster_ips.empty() &&
         s.type != kube::ServiceType::kExternalName;
}

bool HasFamily(const kube::Service& s, IpFamily family) {
  for (const IpAddress& ip : s.cluster_ips) {
    if (ip.family() == family) return true;
  }
  return false;
}

struct Want {
  L4Address frontend;
  FrontendKind kind;
  std::string port;
};

// In the order in which a Service's own wishes win over each other.
std::vector<Want> WantsOf(const kube::Service& s) {
  std::vector<Want> wants;
  if (!IsForProxy(s)) return wants;
  auto add = [&](const std::vector<IpAddress>& addresses, FrontendKind kind) {
    for (const IpAddress& ip : addresses) {
      for (const kube::ServicePort& port : s.ports) {
        Port number =
            kind == FrontendKind::kNodePort ? port.node_port : port.port;
        if (number == 0 || !HasFamily(s, ip.family())) continue;
        wants.push_back({{ip, number, port.protocol}, kind, port.name});
      }
    }
  };
  add(s.cluster_ips, FrontendKind::kClusterIp);
  add(s.load_balancer_vips, FrontendKind::kLoadBalancer);
  add(s.external_ips, FrontendKind::kExternalIp);
  add({IpAddress::Unspecified(IpFamily::kIpv4),
       IpAddress::Unspecified(IpFamily::kIpv6)},
      FrontendKind::kNodePort);
  return wants;
}

// Of two slices that disagree: not terminating before terminating, ready
// before not, serving before not, then the slice's key.
auto Rank(const Candidate& c) {
  return std::tuple(c.terminating, !c.ready, !c.serving);
}

}  // namespace

std::string KeyOf(const kube::ObjectMeta& meta) {
  return meta.ns + "/" + meta.name;
}

void State::PutService(const kube::Service& service) {
  services_[KeyOf(service.meta)] = service;
}

void State::DeleteService(const std::string& key) { services_.erase(key); }

void State::PutSlice(const kube::EndpointSlice& slice) {
  slices_[KeyOf(slice.meta)] = slice;
}

void State::DeleteSlice(const std::string& key) { slices_.erase(key); }

std::optional<FrontendOwner> State::OwnerOf(const L4Address& frontend) const {
  std::optional<FrontendOwner> owner;
  absl::Time since;
  for (const auto& [key, service] : services_) {  // by key
    if (owner && service.meta.creation >= since) continue;
    for (const Want& want : WantsOf(service)) {
      if (want.frontend != frontend) continue;
      owner = FrontendOwner{want.kind,
                            {key, want.port, frontend.protocol,
                             frontend.address.family()}};
      since = service.meta.creation;
      break;
    }
  }
  return owner;
}

bool State::IsServiceAddress(const IpAddress& address) const {
  if (address.is_unspecified()) return false;
  for (const auto& [key, service] : services_) {
    for (const Want& want : WantsOf(service)) {
      if (want.frontend.address == address) return true;
    }
  }
  return false;
}

std::vector<ServicePortId> State::PortsOf(IpFamily family) const {
  std::vector<ServicePortId> out;
  for (const auto& [key, service] : services_) {
    if (!IsForProxy(service) || !HasFamily(service, family)) continue;
    for (const kube::ServicePort& port : service.ports) {
      out.push_back({key, port.name, port.protocol, family});
    }
  }
  return out;
}

bool State::HasFrontend(const ServicePortId& port) const {
  for (const Want& want : WantsOf(services_.at(port.service))) {
    if (want.port != port.port || want.frontend.protocol != port.protocol ||
        want.frontend.address.family() != port.family) {
      continue;
    }
    if (OwnerOf(want.frontend)->port == port) return true;
  }
  return false;
}

std::vector<Candidate> State::CandidatesOf(const ServicePortId& port) const {
  std::map<L4Address, Candidate> found;
  for (const auto& [key, slice] : slices_) {  // by key
    if (slice.meta.ns + "/" + slice.service_name != port.service ||
        slice.service_name.empty() || slice.family != port.family) {
      continue;
    }
    for (const kube::EndpointPort& target : slice.ports) {
      if (target.name != port.port || target.protocol != port.protocol ||
          target.port == 0) {
        continue;
      }
      for (const kube::Endpoint& e : slice.endpoints) {
        Candidate c = {{e.address, target.port, target.protocol},
                       e.ready,
                       e.serving,
                       e.terminating,
                       !e.node_name.empty() && e.node_name == node.name,
                       e.zone_hints,
                       e.node_hints};
        auto [it, inserted] = found.try_emplace(c.address, c);
        if (!inserted && Rank(c) < Rank(it->second)) it->second = c;
      }
    }
  }
  std::vector<Candidate> out;
  for (auto& [address, candidate] : found) out.push_back(candidate);
  return out;
}

std::set<L4Address> State::KeepersOf(const ServicePortId& port) const {
  std::set<L4Address> out;
  for (const Candidate& c : CandidatesOf(port)) {
    if (c.serving || c.ready) out.insert(c.address);
  }
  return out;
}

}  // namespace fairlead::reference
