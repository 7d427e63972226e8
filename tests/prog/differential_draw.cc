// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/differential_draw.h"

#include <optional>
#include <utility>

#include "tests/prog/differential_world.h"
#include "userspace/base/strings.h"

namespace fairlead::differential {
namespace {

using Shape = reference::Packet::Shape;

std::vector<IpAddress> Addresses(std::vector<std::string_view> texts) {
  std::vector<IpAddress> out;
  for (std::string_view text : texts) out.push_back(*IpAddress::Parse(text));
  return out;
}

std::vector<IpAddress> OfFamily(const std::vector<IpAddress>& all,
                                IpFamily family) {
  std::vector<IpAddress> out;
  for (const IpAddress& ip : all) {
    if (ip.family() == family) out.push_back(ip);
  }
  return out;
}

IpAddress ClusterIp(int number, IpFamily family) {
  const char last = static_cast<char>('1' + number);
  return *IpAddress::Parse(StrCat(
      family == IpFamily::kIpv4 ? "198.51.100." : "2001:db8:2::",
      std::string(1, last)));
}

// Load balancers' and external IPs; one of the node's own, too.
const std::vector<IpAddress>& Vips() {
  static const auto* vips = new std::vector<IpAddress>(Addresses(
      {"192.0.2.200", "192.0.2.201", "192.0.2.202", "2001:db8:1::200",
       "2001:db8:1::201", "203.0.113.7", "2001:db8:3::7"}));
  return *vips;
}

// No Service's, of what may be a range of ClusterIPs.
const std::vector<IpAddress>& Unallocated() {
  static const auto* addresses = new std::vector<IpAddress>(
      Addresses({"198.51.100.200", "198.51.100.201", "192.0.2.240",
                 "2001:db8:2::c8", "2001:db8:2::c9", "2001:db8:1::f0"}));
  return *addresses;
}

// Pods here and elsewhere, and nodes (pods with host network).
const std::vector<IpAddress>& Endpoints() {
  static const auto* endpoints = new std::vector<IpAddress>(Addresses(
      {"10.1.1.2", "10.1.1.3", "10.1.2.2", "10.1.2.3", "10.1.3.2",
       "203.0.113.7", "203.0.113.20", "8.0.1.2", "2001:db8:86dd::2",
       "2001:db8:10:1::2", "2001:db8:10:1::3",
       "2001:db8:10:2::2", "2001:db8:10:3::2", "2001:db8:3::7"}));
  return *endpoints;
}

const std::vector<IpAddress>& OtherClients() {
  static const auto* clients = new std::vector<IpAddress>(Addresses(
      {"192.0.2.10", "192.0.2.130", "192.0.2.11", "203.0.113.7",
       "203.0.113.8", "8.0.1.9", "2001:db8:86dd::9", "10.1.1.9",
       "10.1.2.9", "192.0.2.200",
       "2001:db8:1::10", "2001:db8:1:8000::10", "2001:db8:3::7",
       "2001:db8:3::8", "2001:db8:10:1::9", "2001:db8:10:2::9",
       "2001:db8:1::200"}));
  return *clients;
}

const std::vector<kube::ServicePort>& Ports() {
  static const auto* ports = new std::vector<kube::ServicePort>{
      {"web", Protocol::kTcp, 80, 0},
      {"dns", Protocol::kUdp, 53, 0},
      {"dns-tcp", Protocol::kTcp, 53, 0},
      {"game", Protocol::kUdp, 80, 0},
      {"line", Protocol::kSctp, 80, 0},
  };
  return *ports;
}

Port TargetPort(Protocol protocol) {
  return protocol == Protocol::kUdp ? 5353 : 8080;
}

IpPrefix Range(std::string_view text) { return *IpPrefix::Parse(text); }

const std::vector<IpPrefix>& SourceRanges() {
  static const auto* ranges = new std::vector<IpPrefix>{
      Range("192.0.2.0/25"),    Range("192.0.2.10/32"),
      Range("10.1.0.0/16"),     Range("203.0.113.0/24"),
      Range("0.0.0.0/0"),       Range("2001:db8:1::/64"),
      Range("2001:db8:3::/48"), Range("2001:db8:10:1::/64"),
      Range("::/0")};
  return *ranges;
}

// All ClusterIPs' and some, one in another, load balancers' addresses.
const std::vector<IpPrefix>& ServiceRanges() {
  static const auto* ranges = new std::vector<IpPrefix>{
      Range("198.51.100.0/24"),  Range("198.51.100.2/31"),
      Range("192.0.2.192/26"),   Range("198.51.100.200/32"),
      Range("2001:db8:2::/64"),  Range("2001:db8:2::2/127"),
      Range("2001:db8:1::/120"), Range("2001:db8:2::c8/128")};
  return *ranges;
}

struct OwnAddresses {
  std::vector<reference::Node::Address> addresses;
  std::vector<IpAddress> masquerade;
};

// '!': takes NodePorts.
OwnAddresses Own(std::vector<std::string_view> addresses,
                 std::vector<std::string_view> masquerade) {
  OwnAddresses own;
  for (std::string_view text : addresses) {
    const bool node_port = text.back() == '!';
    if (node_port) text.remove_suffix(1);
    own.addresses.push_back({*IpAddress::Parse(text), node_port});
  }
  own.masquerade = Addresses(std::move(masquerade));
  return own;
}

// What the node may have: the first is DefaultNode()'s.
const std::vector<OwnAddresses>& NodeAddresses() {
  static const auto* all = new std::vector<OwnAddresses>{
      Own({"203.0.113.7!", "203.0.113.8", "2001:db8:3::7!", "2001:db8:3::8"},
          {"203.0.113.7", "2001:db8:3::7"}),
      // A load balancer's address that is on the node, and NodePorts on its
      // loopback.
      Own({"203.0.113.7!", "192.0.2.201", "127.0.0.1!", "2001:db8:3::7!",
           "2001:db8:1::201!"},
          {"203.0.113.7", "2001:db8:3::7"}),
      // The other ones are the only ones.
      Own({"203.0.113.8!", "2001:db8:3::8!"},
          {"203.0.113.8", "2001:db8:3::8"}),
      // No IPv6.
      Own({"203.0.113.7!", "203.0.113.8!"}, {"203.0.113.7"}),
  };
  return *all;
}

const std::vector<IpAddress>& EverOwn() {
  static const auto* own = new std::vector<IpAddress>(
      Addresses({"203.0.113.7", "203.0.113.7", "203.0.113.8",
                 "2001:db8:3::7", "2001:db8:3::7", "2001:db8:3::8"}));
  return *own;
}

std::string ServiceName(int number) { return StrCat("s", number); }

}  // namespace

kube::Service Draw::Service(int number) {
  kube::Service s;
  s.meta.ns = "default";
  s.meta.name = ServiceName(number);
  const uint32_t families = Below(4);  // both, half of the time
  // Now and then another Service's address.
  const int whose = Chance(5) ? static_cast<int>(Below(kServices)) : number;
  if (families != 1) {
    s.cluster_ips.push_back(ClusterIp(whose, IpFamily::kIpv4));
  }
  if (families != 0) {
    s.cluster_ips.push_back(ClusterIp(whose, IpFamily::kIpv6));
  }
  const uint32_t type = Below(10);
  s.type = type < 3   ? kube::ServiceType::kClusterIp
           : type < 6 ? kube::ServiceType::kNodePort
                      : kube::ServiceType::kLoadBalancer;
  for (size_t i = 0; i < Ports().size(); ++i) {
    if (!Chance(60)) continue;
    kube::ServicePort port = Ports()[i];
    if (s.type != kube::ServiceType::kClusterIp && Chance(90)) {
      // Each port of a Service its own, some shared between Services.
      port.node_port =
          static_cast<Port>(kNodePortMin + Ports().size() * Below(3) + i);
    }
    s.ports.push_back(port);
  }
  if (s.ports.empty()) s.ports.push_back(Ports()[0]);
  if (s.type == kube::ServiceType::kLoadBalancer) {
    for (uint32_t n = Below(4); n > 0; --n) {
      s.load_balancer_vips.push_back(Of(Vips()));
    }
    for (uint32_t n = Chance(40) ? 1 + Below(3) : 0; n > 0; --n) {
      s.source_ranges.push_back(Of(SourceRanges()));
    }
  }
  if (Chance(25)) s.external_ips.push_back(Of(Vips()));
  if (Chance(25)) s.affinity = absl::Seconds(Chance(50) ? 65 : 1005);
  s.internal_local = Chance(20);
  s.external_local = Chance(40);
  if (Chance(3)) s.headless = true;
  if (Chance(3)) s.other_proxy = true;
  if (Chance(2)) s.type = kube::ServiceType::kExternalName;
  return s;
}

kube::Endpoint Draw::Endpoint(IpFamily family) {
  kube::Endpoint e;
  e.address = Of(OfFamily(Endpoints(), family));
  // Where the address says, as a rule.
  const std::string text = e.address.ToString();
  auto has = [&text](const char* part) {
    return text.find(part) != std::string::npos;
  };
  if (has("10.1.1.") || has(":10:1:") || has("113.7") || has(":3::7")) {
    e.node_name = "node-1";
  } else if (!Chance(5)) {
    e.node_name = "node-2";
  }
  const uint32_t condition = Below(20);
  if (condition >= 12 && condition < 15) e.ready = false;
  if (condition >= 12 && condition < 14) e.serving = false;
  if (condition >= 15) {
    e.ready = false;
    e.terminating = true;
    e.serving = condition < 19;
    e.ready = Chance(10);  // as publishNotReadyAddresses has it
  }
  if (Chance(50)) {
    e.zone_hints.push_back(Chance(60) ? "zone-a" : "zone-b");
    if (Chance(20)) e.zone_hints.push_back("zone-c");
  }
  if (Chance(30)) e.node_hints.push_back(Chance(60) ? "node-1" : "node-2");
  return e;
}

kube::EndpointSlice Draw::Slice(int service, int part) {
  kube::EndpointSlice slice;
  slice.meta.ns = "default";
  slice.meta.name = StrCat(ServiceName(service), "-", part);
  slice.service_name = ServiceName(service);
  slice.family = part < 2 ? IpFamily::kIpv4 : IpFamily::kIpv6;
  if (Chance(2)) slice.family.reset();
  // The next port, or the Service's own: then an endpoint may be a frontend.
  const uint32_t targets = Below(10);
  for (const kube::ServicePort& port : Ports()) {
    if (!Chance(90)) continue;
    Port target = TargetPort(port.protocol);
    if (targets < 3) ++target;
    if (targets == 9) target = port.port;
    slice.ports.push_back({port.name, port.protocol, target});
  }
  const IpFamily family = part < 2 ? IpFamily::kIpv4 : IpFamily::kIpv6;
  const bool hinted = Chance(60);
  for (uint32_t n = Below(5); n > 0; --n) {
    slice.endpoints.push_back(Endpoint(family));
    if (!hinted) {
      slice.endpoints.back().zone_hints.clear();
      slice.endpoints.back().node_hints.clear();
    }
  }
  return slice;
}

void Draw::ChangeEndpoints(kube::EndpointSlice* slice) {
  const IpFamily family = slice->family.value_or(IpFamily::kIpv4);
  auto& all = slice->endpoints;
  if (all.empty() || Chance(30)) {
    all.push_back(Endpoint(family));
    return;
  }
  const size_t at = Below(static_cast<uint32_t>(all.size()));
  if (Chance(30)) {
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
  } else if (Chance(50)) {
    // On its way out, as kubelets do it.
    all[at].ready = false;
    all[at].terminating = true;
    all[at].serving = all[at].serving && !Chance(30);
  } else {
    const kube::Endpoint fresh = Endpoint(family);
    all[at].ready = fresh.ready;
    all[at].serving = fresh.serving;
    all[at].terminating = fresh.terminating;
  }
}

void Draw::ChangeNode(reference::Node* node) {
  switch (Below(6)) {
    case 5:
      node->service_cidrs.clear();
      for (uint32_t n = Below(4); n > 0; --n) {
        node->service_cidrs.push_back(Of(ServiceRanges()));
      }
      break;
    case 4: {
      const OwnAddresses& own = Of(NodeAddresses());
      node->addresses = own.addresses;
      node->masquerade = own.masquerade;
      break;
    }
    case 3:
      node->device_has_pods = Chance(60);
      node->own_pods.clear();
      if (Chance(60)) {
        node->own_pods = {Range("10.1.1.0/24"), Range("2001:db8:10:1::/64")};
      }
      break;
    case 0:
      node->zone = Chance(50) ? "zone-a" : Chance(50) ? "zone-b" : "";
      break;
    case 1:
      for (reference::Node::Address& own : node->addresses) {
        own.node_port = Chance(60);
      }
      break;
    default:
      node->masquerade_all = Chance(30);
  }
}

L4Address Draw::Destination(const reference::State& state, Protocol protocol,
                            IpFamily family) {
  const std::vector<IpAddress> own = OfFamily(EverOwn(), family);
  // Most often something that a Service has.
  std::vector<L4Address> had;
  for (const auto& [key, service] : state.services()) {
    for (const kube::ServicePort& port : service.ports) {
      if (port.protocol != protocol) continue;
      for (const auto* ips : {&service.cluster_ips, &service.external_ips,
                              &service.load_balancer_vips}) {
        for (const IpAddress& ip : OfFamily(*ips, family)) {
          had.push_back({ip, port.port, protocol});
        }
      }
      if (port.node_port == 0) continue;
      had.push_back({Of(own), port.node_port, protocol});
    }
  }
  if (!had.empty() && Chance(2)) {
    return {IpAddress::Unspecified(family), Of(had).port, protocol};
  }
  if (!had.empty() && Chance(90)) return Of(had);
  L4Address out = {ClusterIp(static_cast<int>(Below(kServices)), family), 80,
                   protocol};
  if (Chance(40)) out.address = Of(OfFamily(Vips(), family));
  if (Chance(10)) out.address = Of(OfFamily(Unallocated(), family));
  if (Chance(20)) out.address = Of(own);
  const uint32_t port = Below(10);
  out.port = port < 3   ? 80
             : port < 5 ? 53
             : port < 6 ? 0
                        : static_cast<Port>(kNodePortMin + Below(12));
  return out;
}

SocketCall Draw::Call(const reference::State& state) {
  const IpFamily family = Chance(60) ? IpFamily::kIpv4 : IpFamily::kIpv6;
  const Protocol protocol = Chance(50) ? Protocol::kTcp : Protocol::kUdp;
  SocketCall call = {.to = Destination(state, protocol, family),
                     .host = Chance(40),
                     .mapped = family == IpFamily::kIpv4 && Chance(25),
                     .connected = protocol == Protocol::kTcp || Chance(50)};
  // An endpoint by its own address; the loopback.
  if (Chance(8)) {
    call.to = {Of(OfFamily(Endpoints(), family)), TargetPort(protocol),
               protocol};
  } else if (family == IpFamily::kIpv4 && Chance(12)) {
    call.to.address = Chance(50) ? *IpAddress::Parse("127.0.0.1")
                                 : IpAddress::Unspecified(family);
  }
  if (call.to.port == 0) call.to.port = 9;  // no system call takes 0
  return call;
}

// Most often nobody's port; else one that a client serves on, too, one that
// others serve on, a Service's, a NodePort, one of this node's for translated
// sources.
Port Draw::ClientPort(Protocol protocol) {
  const uint32_t kind = Below(100);
  if (kind < 1) return 0;
  if (kind < 9) return TargetPort(protocol);
  if (kind < 12) return static_cast<Port>(TargetPort(protocol) + 1);
  if (kind < 16) return Of(Ports()).port;
  if (kind < 19) return static_cast<Port>(kNodePortMin + Below(12));
  if (kind < 21) return static_cast<Port>(61000 + Below(5));
  return static_cast<Port>(40000 + Below(4));
}

Wire Draw::Packet(const reference::State& state) {
  const IpFamily family = Chance(60) ? IpFamily::kIpv4 : IpFamily::kIpv6;
  const Protocol protocol = Chance(45)   ? Protocol::kTcp
                            : Chance(75) ? Protocol::kUdp
                                         : Protocol::kSctp;
  Wire wire;
  reference::Packet& p = wire.packet;
  p.src = {Of(OfFamily(Chance(35) ? Endpoints() : OtherClients(), family)),
           ClientPort(protocol), protocol};
  p.dst = Destination(state, protocol, family);
  p.syn = p.IsConnection();
  if (p.IsConnection() && Chance(12)) LaterFlags(&p);
  Variety(&wire);
  return wire;
}

void Draw::LaterFlags(reference::Packet* packet) {
  packet->syn = packet->ack = packet->fin = packet->rst = false;
  if (!packet->IsConnection()) return;
  const uint32_t kind = Below(20);
  if (packet->IsSctp()) {
    // A chunk has one meaning: SHUTDOWN, ABORT, INIT, INIT ACK or data.
    packet->fin = kind < 2;
    packet->rst = kind == 15;
    packet->syn = kind == 14 || kind == 17;
    packet->ack = kind != 15 && kind != 17;
    return;
  }
  packet->ack = kind < 16 || kind == 18;
  packet->fin = kind < 2 || kind == 19;
  packet->rst = kind == 15 || kind == 16;
  packet->syn = kind == 14 || kind == 17;  // with or without an ACK
}

void Draw::Variety(Wire* wire) {
  wire->payload = static_cast<int>(Chance(80) ? Below(40) : Below(1200));
  if (Chance(8)) {
    if (wire->packet.src.address.is_v4()) {
      wire->ip_options = static_cast<int>(1 + Below(3));
    } else {
      wire->extensions = Extensions(1 + Below(3));
    }
  }
  if (wire->packet.IsSctp()) {
    // As chunks are; a checksum that a device fills in is zero.
    wire->payload = wire->payload / 4 * 4;
    wire->checksum = !Chance(15);
  } else if (!wire->packet.IsTcp() && wire->packet.src.address.is_v4()) {
    wire->checksum = !Chance(15);
  }
  wire->packet.extended = !wire->extensions.empty();
  ChooseLink(wire);
}

// Hop-by-hop options are the first ones or not at all (RFC 8200, 4.1).
std::vector<Extension> Draw::Extensions(size_t count) {
  std::vector<Extension> out;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t kind = Below(i == 0 ? 3 : 2);
    const uint8_t type = kind == 0 ? 43 : kind == 1 ? 60 : 0;
    out.push_back({.type = type,
                   .units = static_cast<uint8_t>(Chance(30) ? Below(4) : 0)});
  }
  return out;
}

void Draw::ErrorVariety(Wire* wire) {
  reference::Packet& p = wire->packet;
  const bool v4 = p.dst.address.is_v4();
  if (Chance(60)) {
    const std::vector<uint8_t> types =
        v4 ? std::vector<uint8_t>{3, 11, 12} : std::vector<uint8_t>{1, 2, 3, 4};
    wire->icmp_type = Of(types);
    wire->icmp_code = static_cast<uint8_t>(Below(2));
  }
  if (!v4 && Chance(15)) wire->extensions = Extensions(1);
  // RFC 792 wants eight bytes, and many routers send no more. (Half a checksum
  // would be nobody's to mend.)
  if (Chance(40)) wire->quoted = static_cast<int>(8 + 2 * Below(8));
  if (Chance(85)) return;
  wire->quote = static_cast<Quote>(1 + Below(3));
  p.shape = Shape::kIcmpErrorOther;
  if (wire->quote == Quote::kWithoutPorts) {
    p.shape = Shape::kIcmpErrorCut;
    wire->quoted = static_cast<int>(Below(8));
  }
}

// The kernel takes a test's frame for Ethernet, and its 13th and 14th byte for
// the EtherType. Without a link header they are the source address's, and some
// addresses have the right ones there.
void Draw::ChooseLink(Wire* wire) {
  const IpAddress::Bytes& bytes = wire->packet.src.address.bytes();
  const bool v4 = wire->packet.src.address.is_v4();
  const bool bare = v4 ? bytes[12] == 0x08 && bytes[13] == 0x00
                       : bytes[4] == 0x86 && bytes[5] == 0xdd;
  wire->link = Link::kEthernet;
  if (bare && Chance(60)) {
    wire->link = Link::kNone;
    if (wire->payload < 8) wire->payload = 8;  // or the kernel won't run it
  } else if (Chance(12)) {
    wire->link = Chance(60) ? Link::kOneTag : Link::kTwoTags;
  }
}

void Draw::Harm(Wire* wire) {
  // Nothing but IP is on such devices, and headers that the kernel needs.
  if (wire->link == Link::kNone) wire->link = Link::kEthernet;
  reference::Packet& p = wire->packet;
  wire->ip_options = 0;
  wire->extensions.clear();
  p.extended = false;
  switch (Below(p.IsTcp() ? 6 : p.IsSctp() ? 5 : 4)) {
    case 0:
      p.shape = Shape::kCut;
      wire->damage = Damage::kCutInPorts;
      break;
    case 1:
      wire->stranger = static_cast<Stranger>(Below(4));
      p.shape = wire->stranger >= Stranger::kArp ? Shape::kNotIp
                                                 : Shape::kOther;
      wire->payload = 40;
      if (!p.src.address.is_v4() && Chance(20)) {
        p.shape = Shape::kOther;
        wire->stranger = Stranger::kHeaders;
        wire->extensions = Extensions(kMaxExtensions + 1);
      }
      break;
    case 2:
      p.shape = Shape::kMalformed;
      wire->damage = Damage::kLongerThanFrame;
      wire->payload = 12;
      break;
    case 3:
      p.shape = Shape::kMalformed;
      wire->damage = Damage::kShorterThanHeaders;
      break;
    case 4:
      p.shape = Shape::kMalformed;
      wire->damage = Damage::kCutInTransport;
      break;
    default:
      p.shape = Shape::kMalformed;
      wire->damage = Damage::kTcpHeaderWords;
  }
}

}  // namespace fairlead::differential
