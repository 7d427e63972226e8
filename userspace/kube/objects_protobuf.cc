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
#include "userspace/kube/protobuf_fields.h"
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

absl::Status Corrupt() {
  return absl::InvalidArgumentError("protobuf: cut off or corrupt");
}

bool Parse(std::string_view bytes, google::protobuf::MessageLite* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

// An object that has been read; or what is wrong with it.
template <typename T>
absl::StatusOr<T> Checked(T object, const Faults& faults) {
  if (faults.status().ok()) return object;
  return WithContext(faults.status(),
                     StrCat(object.meta.ns, "/", object.meta.name));
}

template <typename Message, typename T, typename Fill>
absl::StatusOr<T> Decode(std::string_view bytes, Fill fill) {
  auto* message =
      google::protobuf::Arena::CreateMessage<Message>(&FreshArena());
  if (!Parse(bytes, message)) return Corrupt();
  T object;
  Faults faults;
  object.meta = MetaOf(message->metadata());
  if (object.meta.name.empty()) faults.Add("metadata.name", "missing");
  fill(*message, &object, &faults);
  return Checked(std::move(object), faults);
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

// An endpoint as it is on the wire; what it says of its pod is passed over.
// The numbers are discovery.k8s.io/v1's.
struct RawEndpoint {
  std::string_view address;  // addresses[0]
  bool has_address = false;
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  std::string_view node_name;
  std::vector<std::string_view> zone_hints;
  std::vector<std::string_view> node_hints;
};

bool ReadConditions(std::string_view message, RawEndpoint* to) {
  return EachField(message, [to](const ProtobufField& field) {
    if (field.has_bytes) return;
    if (field.number == 1) to->ready = field.value != 0;
    if (field.number == 2) to->serving = field.value != 0;
    if (field.number == 3) to->terminating = field.value != 0;
  });
}

// EndpointHints: forZones = 1, forNodes = 2, each of messages with a name = 1.
bool ReadHints(std::string_view message, RawEndpoint* to) {
  bool good = true;
  const bool whole = EachField(message, [&](const ProtobufField& hint) {
    if (!hint.has_bytes || hint.number > 2) return;
    std::string_view name;
    good = EachField(hint.bytes, [&name](const ProtobufField& field) {
      if (field.number == 1) name = field.bytes;
    }) && good;
    (hint.number == 1 ? to->zone_hints : to->node_hints).push_back(name);
  });
  return whole && good;
}

bool ReadRawEndpoint(std::string_view message, RawEndpoint* to) {
  bool good = true;
  const bool whole = EachField(message, [&](const ProtobufField& field) {
    if (!field.has_bytes) return;
    switch (field.number) {
      case 1:
        if (!to->has_address) to->address = field.bytes;
        to->has_address = true;
        break;
      case 2:
        good = ReadConditions(field.bytes, to) && good;
        break;
      case 6:
        to->node_name = field.bytes;
        break;
      case 8:
        good = ReadHints(field.bytes, to) && good;
        break;
    }
  });
  return whole && good;
}

void AddEndpoint(const RawEndpoint& from, int index, EndpointSlice* slice,
                 Faults* faults) {
  constexpr char kList[] = "endpoints";
  if (!from.has_address) {
    return faults->Add(kList, index, "addresses", "missing");
  }
  if (!slice->family.has_value()) return;  // FQDN
  auto address = IpAddress::Parse(from.address);
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
  endpoint.ready = from.ready;
  endpoint.serving = from.serving;
  endpoint.terminating = from.terminating;
  endpoint.node_name = from.node_name;
  endpoint.zone_hints.assign(from.zone_hints.begin(), from.zone_hints.end());
  endpoint.node_hints.assign(from.node_hints.begin(), from.node_hints.end());
}

void ReadAddressType(std::string_view type, EndpointSlice* slice,
                     Faults* faults) {
  if (type == "IPv4") {
    slice->family = IpFamily::kIpv4;
  } else if (type == "IPv6") {
    slice->family = IpFamily::kIpv6;
  } else if (type != "FQDN") {
    faults->Add("addressType", "unknown");
  }
}

void ReadEndpointPort(const pb::EndpointPort& from, int index,
                      EndpointSlice* slice, Faults* faults) {
  // An empty name is a name; none at all is of no use to a proxy.
  if (!from.has_name()) return;
  EndpointPort port;
  port.name = from.name();
  port.protocol = ReadProtocol(from.protocol(), "ports", index, faults);
  port.port = PortOf(from.port(), "ports", index, "port", faults);
  if (port.port != 0) slice->ports.push_back(std::move(port));
}

// A slice's fields, of which the endpoints are left as they are: a hundred in a
// slice, hundreds of thousands in a cluster, and a message's class would copy
// each of their strings and what it doesn't know. Half of the time that a list
// took was that.
struct RawSlice {
  const pb::ObjectMeta* meta = nullptr;
  std::vector<const pb::EndpointPort*> ports;
  std::string_view address_type;
  std::vector<std::string_view> endpoints;
};

bool ReadRawSlice(std::string_view bytes, google::protobuf::Arena* arena,
                  RawSlice* to) {
  bool good = true;
  auto* meta = google::protobuf::Arena::CreateMessage<pb::ObjectMeta>(arena);
  to->meta = meta;
  const bool whole = EachField(bytes, [&](const ProtobufField& field) {
    if (!field.has_bytes) return;
    if (field.number == 1) {
      good = Parse(field.bytes, meta) && good;
    } else if (field.number == 2) {
      to->endpoints.push_back(field.bytes);
    } else if (field.number == 3) {
      auto* port =
          google::protobuf::Arena::CreateMessage<pb::EndpointPort>(arena);
      good = Parse(field.bytes, port) && good;
      to->ports.push_back(port);
    } else if (field.number == 4) {
      to->address_type = field.bytes;
    }
  });
  return whole && good;
}

absl::StatusOr<EndpointSlice> DecodeSlice(std::string_view bytes) {
  RawSlice raw;
  if (!ReadRawSlice(bytes, &FreshArena(), &raw)) return Corrupt();
  EndpointSlice slice;
  Faults faults;
  slice.meta = MetaOf(*raw.meta);
  if (slice.meta.name.empty()) faults.Add("metadata.name", "missing");
  slice.service_name = Find(raw.meta->labels(), kServiceNameLabel);
  ReadAddressType(raw.address_type, &slice, &faults);
  for (size_t i = 0; i < raw.ports.size(); ++i) {
    ReadEndpointPort(*raw.ports[i], static_cast<int>(i), &slice, &faults);
  }
  slice.endpoints.reserve(raw.endpoints.size());
  for (size_t i = 0; i < raw.endpoints.size(); ++i) {
    RawEndpoint endpoint;
    if (!ReadRawEndpoint(raw.endpoints[i], &endpoint)) return Corrupt();
    AddEndpoint(endpoint, static_cast<int>(i), &slice, &faults);
  }
  std::string_view changed =
      Find(raw.meta->annotations(), kLastChangeAnnotation);
  absl::Time time;
  if (absl::ParseTime(absl::RFC3339_full, Absl(changed), &time, nullptr)) {
    slice.last_change = time;
  }
  return Checked(std::move(slice), faults);
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
  return DecodeSlice(from.bytes);
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
