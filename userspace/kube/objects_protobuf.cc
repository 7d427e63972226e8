// SPDX-License-Identifier: Apache-2.0
// objects.h for protobuf. The same checks as objects.cc, in the same words.
#include <google/protobuf/arena.h>

#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "k8s.pb.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/object_fields.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/service_cidr.h"

namespace fairlead::kube {
namespace {

// Messages live until the next object is decoded: one block of memory for a
// whole list.
google::protobuf::Arena& FreshArena() {
  static thread_local std::array<char, 64 * 1024> block;
  static thread_local google::protobuf::Arena arena(block.data(), block.size());
  arena.Reset();
  return arena;
}

// The first thing that is wrong with an object.
class Faults {
 public:
  void Add(std::string_view field, std::string_view why) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(StrCat(field, ": ", why));
    }
  }
  void Add(std::string_view list, int index, std::string_view field,
           std::string_view why) {
    if (status_.ok()) Add(StrCat(list, "[", index, "].", field), why);
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

std::string_view Find(
    const google::protobuf::RepeatedPtrField<pb::Entry>& entries,
    std::string_view key) {
  for (const pb::Entry& entry : entries) {
    if (entry.key() == key) return entry.value();
  }
  return "";
}

ObjectMeta MetaOf(const pb::ObjectMeta& from) {
  ObjectMeta meta;
  meta.ns = from.namespace_();
  meta.name = from.name();
  meta.uid = from.uid();
  meta.resource_version = from.resource_version();
  // No time at all is an empty message.
  if (from.creation_timestamp().has_seconds()) {
    meta.creation = absl::FromUnixSeconds(from.creation_timestamp().seconds());
  }
  return meta;
}

template <typename Message, typename T, typename Fill>
absl::StatusOr<T> Decode(std::string_view bytes, Fill fill) {
  auto* message =
      google::protobuf::Arena::CreateMessage<Message>(&FreshArena());
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("protobuf: cut off or corrupt");
  }
  T object;
  Faults faults;
  object.meta = MetaOf(message->metadata());
  if (object.meta.name.empty()) faults.Add("metadata.name", "missing");
  fill(*message, &object, &faults);
  if (!faults.status().ok()) {
    return WithContext(faults.status(),
                       StrCat(object.meta.ns, "/", object.meta.name));
  }
  return object;
}

// A list's field, as a port: 0 with a fault if it can't be one.
Port PortOf(int64_t value, std::string_view list, int index,
            std::string_view field, Faults* faults) {
  if (value >= 0 && value <= kMaxPort) return static_cast<Port>(value);
  faults->Add(list, index, field, "out of range");
  return 0;
}

Protocol ReadProtocol(const std::string& text, std::string_view list,
                      int index, Faults* faults) {
  std::optional<Protocol> protocol = ProtocolOf(text);
  if (!protocol.has_value()) faults->Add(list, index, "protocol", "unknown");
  return protocol.value_or(Protocol::kTcp);
}

void ReadClusterIps(const pb::ServiceSpec& spec, Service* service,
                    Faults* faults) {
  auto read = [&](const std::string& text) {
    if (text.empty()) return;
    if (text == "None") {
      service->headless = true;
      return;
    }
    auto address = IpAddress::Parse(text);
    if (address.ok()) {
      service->cluster_ips.push_back(*address);
    } else {
      faults->Add("spec.clusterIPs", Std(address.status().message()));
    }
  };
  for (const std::string& text : spec.cluster_ips()) read(text);
  if (spec.cluster_ips().empty()) read(spec.cluster_ip());
}

void ReadServicePorts(const pb::ServiceSpec& spec, Service* service,
                      Faults* faults) {
  constexpr char kList[] = "spec.ports";
  for (int i = 0; i < spec.ports_size(); ++i) {
    const pb::ServicePort& from = spec.ports(i);
    ServicePort port;
    port.name = from.name();
    port.protocol = ReadProtocol(from.protocol(), kList, i, faults);
    port.port = PortOf(from.port(), kList, i, "port", faults);
    port.node_port = PortOf(from.node_port(), kList, i, "nodePort", faults);
    if (port.port == 0) faults->Add(kList, i, "port", "missing");
    service->ports.push_back(std::move(port));
  }
}

void ReadLoadBalancer(const pb::Service& from, Service* service,
                      Faults* faults) {
  const pb::LoadBalancerStatus& status = from.status().load_balancer();
  for (int i = 0; i < status.ingress_size(); ++i) {
    const pb::LoadBalancerIngress& ingress = status.ingress(i);
    const std::string& mode = ingress.ip_mode();
    if (ingress.ip().empty() || (!mode.empty() && mode != "VIP")) continue;
    auto address = IpAddress::Parse(ingress.ip());
    if (address.ok()) {
      service->load_balancer_vips.push_back(*address);
    } else {
      faults->Add("status.loadBalancer.ingress", i, "ip",
                  Std(address.status().message()));
    }
  }
  for (const std::string& text : from.spec().load_balancer_source_ranges()) {
    auto prefix = IpPrefix::Parse(Std(absl::StripAsciiWhitespace(text)),
                                  /*mask_host_bits=*/true);
    if (prefix.ok()) {
      service->source_ranges.push_back(*prefix);
    } else {
      faults->Add("spec.loadBalancerSourceRanges",
                  Std(prefix.status().message()));
    }
  }
}

void ReadAffinity(const pb::ServiceSpec& spec, Service* service,
                  Faults* faults) {
  if (spec.session_affinity() != "ClientIP") return;
  int64_t seconds =
      spec.session_affinity_config().client_ip().timeout_seconds();
  if (seconds < 0 || seconds > kMaxAffinitySeconds) {
    faults->Add("spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                "out of range");
  }
  service->affinity =
      absl::Seconds(seconds > 0 ? seconds : kDefaultAffinitySeconds);
}

void FillService(const pb::Service& from, Service* service, Faults* faults) {
  const pb::ServiceSpec& spec = from.spec();
  std::optional<ServiceType> type = ServiceTypeOf(spec.type());
  if (!type.has_value()) faults->Add("spec.type", "unknown");
  service->type = type.value_or(ServiceType::kClusterIp);
  ReadClusterIps(spec, service, faults);
  service->other_proxy =
      !Find(from.metadata().labels(), kServiceProxyNameLabel).empty();
  ReadServicePorts(spec, service, faults);
  for (const std::string& text : spec.external_ips()) {
    auto address = IpAddress::Parse(text);
    if (address.ok()) {
      service->external_ips.push_back(*address);
    } else {
      faults->Add("spec.externalIPs", Std(address.status().message()));
    }
  }
  ReadLoadBalancer(from, service, faults);
  ReadAffinity(spec, service, faults);
  service->internal_local = spec.internal_traffic_policy() == "Local";
  service->external_local = spec.external_traffic_policy() == "Local";
  const int health_check = spec.health_check_node_port();
  if (health_check < 0 || health_check > kMaxPort) {
    faults->Add("spec.healthCheckNodePort", "out of range");
  }
  service->health_check_node_port = static_cast<Port>(health_check);
}

void ReadEndpoint(const pb::Endpoint& from, int index, EndpointSlice* slice,
                  Faults* faults) {
  constexpr char kList[] = "endpoints";
  if (from.addresses().empty()) {
    return faults->Add(kList, index, "addresses", "missing");
  }
  if (!slice->family.has_value()) return;  // FQDN
  auto address = IpAddress::Parse(from.addresses(0));
  if (!address.ok()) {
    return faults->Add(kList, index, "addresses[0]",
                       Std(address.status().message()));
  }
  if (address->family() != *slice->family) {
    return faults->Add(kList, index, "addresses[0]",
                       "not of the slice's addressType");
  }
  Endpoint& endpoint = slice->endpoints.emplace_back();
  endpoint.address = *address;
  const pb::EndpointConditions& conditions = from.conditions();
  endpoint.ready = !conditions.has_ready() || conditions.ready();
  endpoint.serving = !conditions.has_serving() || conditions.serving();
  endpoint.terminating = conditions.terminating();
  endpoint.node_name = from.node_name();
  for (const pb::NamedHint& hint : from.hints().for_zones()) {
    endpoint.zone_hints.push_back(hint.name());
  }
  for (const pb::NamedHint& hint : from.hints().for_nodes()) {
    endpoint.node_hints.push_back(hint.name());
  }
}

void FillSlice(const pb::EndpointSlice& from, EndpointSlice* slice,
               Faults* faults) {
  slice->service_name = Find(from.metadata().labels(), kServiceNameLabel);
  if (from.address_type() == "IPv4") {
    slice->family = IpFamily::kIpv4;
  } else if (from.address_type() == "IPv6") {
    slice->family = IpFamily::kIpv6;
  } else if (from.address_type() != "FQDN") {
    faults->Add("addressType", "unknown");
  }
  for (int i = 0; i < from.ports_size(); ++i) {
    const pb::EndpointPort& port_from = from.ports(i);
    // An empty name is a name; none at all is of no use to a proxy.
    if (!port_from.has_name()) continue;
    EndpointPort port;
    port.name = port_from.name();
    port.protocol = ReadProtocol(port_from.protocol(), "ports", i, faults);
    port.port = PortOf(port_from.port(), "ports", i, "port", faults);
    if (port.port != 0) slice->ports.push_back(std::move(port));
  }
  slice->endpoints.reserve(from.endpoints_size());
  for (int i = 0; i < from.endpoints_size(); ++i) {
    ReadEndpoint(from.endpoints(i), i, slice, faults);
  }
  std::string_view changed =
      Find(from.metadata().annotations(), kLastChangeAnnotation);
  absl::Time time;
  if (absl::ParseTime(absl::RFC3339_full, Absl(changed), &time, nullptr)) {
    slice->last_change = time;
  }
}

void FillNode(const pb::Node& from, Node* node, Faults* faults) {
  node->zone = Find(from.metadata().labels(), kZoneLabel);
  for (const pb::NodeAddress& entry : from.status().addresses()) {
    if (entry.type() != "InternalIP") continue;
    auto address = IpAddress::Parse(entry.address());
    if (address.ok()) node->internal_ips.push_back(*address);
  }
  node->being_deleted = from.metadata().has_deletion_timestamp();
  for (const pb::Taint& taint : from.spec().taints()) {
    node->taints.push_back(taint.key());
  }
  auto read = [&](const std::string& text) {
    auto prefix = IpPrefix::Parse(text, /*mask_host_bits=*/true);
    if (prefix.ok()) {
      node->pod_cidrs.push_back(*prefix);
    } else {
      faults->Add("spec.podCIDRs", Std(prefix.status().message()));
    }
  };
  for (const std::string& text : from.spec().pod_cidrs()) read(text);
  if (from.spec().pod_cidrs().empty() && !from.spec().pod_cidr().empty()) {
    read(from.spec().pod_cidr());
  }
}

void FillServiceCidr(const pb::ServiceCIDR& from, ServiceCidr* ranges,
                     Faults* faults) {
  for (const std::string& text : from.spec().cidrs()) {
    auto prefix = IpPrefix::Parse(text, /*mask_host_bits=*/true);
    if (prefix.ok()) {
      ranges->cidrs.push_back(*prefix);
    } else {
      faults->Add("spec.cidrs", Std(prefix.status().message()));
    }
  }
}

}  // namespace

absl::StatusOr<Service> DecodeService(const EncodedObject& from) {
  if (from.encoding == Encoding::kJson) return DecodeService(from.bytes);
  return Decode<pb::Service, Service>(from.bytes, FillService);
}

absl::StatusOr<EndpointSlice> DecodeEndpointSlice(const EncodedObject& from) {
  if (from.encoding == Encoding::kJson) return DecodeEndpointSlice(from.bytes);
  return Decode<pb::EndpointSlice, EndpointSlice>(from.bytes, FillSlice);
}

absl::StatusOr<Node> DecodeNode(const EncodedObject& from) {
  if (from.encoding == Encoding::kJson) return DecodeNode(from.bytes);
  return Decode<pb::Node, Node>(from.bytes, FillNode);
}

absl::StatusOr<ServiceCidr> DecodeServiceCidr(const EncodedObject& from) {
  if (from.encoding == Encoding::kJson) return DecodeServiceCidr(from.bytes);
  return Decode<pb::ServiceCIDR, ServiceCidr>(from.bytes, FillServiceCidr);
}

absl::StatusOr<ObjectMeta> DecodeMeta(const EncodedObject& from) {
  if (from.encoding == Encoding::kJson) return DecodeMeta(from.bytes);
  struct Any {
    ObjectMeta meta;
  };
  FL_ASSIGN_OR_RETURN(Any any,
                      (Decode<pb::AnyObject, Any>(
                          from.bytes, [](const auto&, Any*, Faults*) {})));
  return std::move(any.meta);
}

std::string EndpointSliceServiceName(const EncodedObject& from) {
  if (from.encoding == Encoding::kJson) {
    return EndpointSliceServiceName(from.bytes);
  }
  auto slice = Decode<pb::AnyObject, EndpointSlice>(
      from.bytes, [](const auto& any, EndpointSlice* s, Faults*) {
        s->service_name = Find(any.metadata().labels(), kServiceNameLabel);
      });
  return slice.ok() ? slice->service_name : "";
}

}  // namespace fairlead::kube
