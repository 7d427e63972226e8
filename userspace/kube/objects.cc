// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/objects.h"

#include <simdjson.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/object_fields.h"
#include "userspace/kube/service_cidr.h"

namespace fairlead::kube {
namespace {

namespace dom = simdjson::dom;

absl::Status Bad(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(StrCat(field, ": ", why));
}

// A JSON object whose absent and null members read as empty values. Values of
// the wrong type are collected as one error, so that readers need no checks.
class Reader {
 public:
  Reader(dom::element element, std::string path, absl::Status* status)
      : path_(std::move(path)), status_(status) {
    if (element.get(object_)) {
      Fail("", "not an object");
    } else {
      present_ = true;
    }
  }

  bool present() const { return present_; }

  std::string_view Text(std::string_view key) const {
    std::string_view value;
    if (auto element = Find(key)) {
      if (element->get(value)) Fail(key, "not a string");
    }
    return value;
  }

  std::optional<bool> Bool(std::string_view key) const {
    bool value = false;
    auto element = Find(key);
    if (!element.has_value()) return std::nullopt;
    if (element->get(value)) Fail(key, "not a boolean");
    return value;
  }

  int64_t Int(std::string_view key, int64_t max) const {
    int64_t value = 0;
    auto element = Find(key);
    if (!element.has_value()) return 0;
    if (element->get(value)) {
      Fail(key, "not an integer");
    } else if (value < 0 || value > max) {
      Fail(key, "out of range");
      value = 0;
    }
    return value;
  }

  Reader Object(std::string_view key) const {
    auto element = Find(key);
    if (!element.has_value()) return Reader(Path(key), status_);
    return Reader(*element, Path(key), status_);
  }

  // `fn(element, its path)` for each of an array.
  template <typename Fn>
  void Each(std::string_view key, Fn fn) const {
    auto element = Find(key);
    if (!element.has_value()) return;
    dom::array array;
    if (element->get(array)) return Fail(key, "not an array");
    size_t i = 0;
    for (dom::element item : array) {
      fn(item, StrCat(Path(key), "[", i++, "]"));
    }
  }

  std::vector<std::string> Texts(std::string_view key) const {
    std::vector<std::string> texts;
    Each(key, [&](dom::element item, const std::string& path) {
      std::string_view text;
      if (item.get(text)) return Fail(path, "not a string", true);
      texts.emplace_back(text);
    });
    return texts;
  }

  std::vector<IpAddress> Addresses(std::string_view key) const {
    std::vector<IpAddress> addresses;
    for (const std::string& text : Texts(key)) {
      auto address = IpAddress::Parse(text);
      if (!address.ok()) {
        Fail(key, address.status().message());
        continue;
      }
      addresses.push_back(*address);
    }
    return addresses;
  }

  void Fail(std::string_view key, absl::string_view why,
            bool whole_path = false) const {
    if (!status_->ok()) return;
    *status_ = Bad(whole_path ? std::string(key) : Path(key), Std(why));
  }

  absl::Status* status() const { return status_; }

 private:
  Reader(std::string path, absl::Status* status)
      : path_(std::move(path)), status_(status) {}

  std::optional<dom::element> Find(std::string_view key) const {
    dom::element element;
    if (!present_ || object_[key].get(element) || element.is_null()) {
      return std::nullopt;
    }
    return element;
  }

  std::string Path(std::string_view key) const {
    if (path_.empty()) return std::string(key);
    return key.empty() ? path_ : StrCat(path_, ".", key);
  }

  dom::object object_;
  bool present_ = false;
  std::string path_;
  absl::Status* status_;
};

template <typename T, typename Fill>
absl::StatusOr<T> Decode(std::string_view json, Fill fill) {
  // Keeps its tape between objects: a list has thousands of them.
  static thread_local dom::parser parser;
  dom::element root;
  if (auto e = parser.parse(json.data(), json.size()).get(root)) {
    return absl::InvalidArgumentError(simdjson::error_message(e));
  }
  absl::Status status;
  T object;
  Reader reader(root, "", &status);
  Reader meta = reader.Object("metadata");
  object.meta.ns = std::string(meta.Text("namespace"));
  object.meta.name = std::string(meta.Text("name"));
  object.meta.uid = std::string(meta.Text("uid"));
  object.meta.resource_version = std::string(meta.Text("resourceVersion"));
  // One that isn't understood is no reason to refuse the object.
  absl::Time creation;
  if (absl::ParseTime(absl::RFC3339_full,
                      Absl(meta.Text("creationTimestamp")), &creation,
                      nullptr)) {
    object.meta.creation = creation;
  }
  if (object.meta.name.empty()) meta.Fail("name", "missing");
  fill(reader, meta, &object);
  if (!status.ok()) {
    return WithContext(status, StrCat(object.meta.ns, "/", object.meta.name));
  }
  return object;
}

Protocol ReadProtocol(const Reader& port) {
  std::optional<Protocol> protocol = ProtocolOf(port.Text("protocol"));
  if (!protocol.has_value()) port.Fail("protocol", "unknown");
  return protocol.value_or(Protocol::kTcp);
}

ServiceType ReadServiceType(const Reader& spec) {
  std::optional<ServiceType> type = ServiceTypeOf(spec.Text("type"));
  if (!type.has_value()) spec.Fail("type", "unknown");
  return type.value_or(ServiceType::kClusterIp);
}

void ReadClusterIps(const Reader& spec, Service* service) {
  std::vector<std::string> ips = spec.Texts("clusterIPs");
  if (ips.empty() && !spec.Text("clusterIP").empty()) {
    ips.emplace_back(spec.Text("clusterIP"));
  }
  for (const std::string& text : ips) {
    if (text.empty()) continue;
    if (text == "None") {
      service->headless = true;
      continue;
    }
    auto address = IpAddress::Parse(text);
    if (!address.ok()) {
      spec.Fail("clusterIPs", address.status().message());
      continue;
    }
    service->cluster_ips.push_back(*address);
  }
}

void ReadServicePorts(const Reader& spec, Service* service) {
  spec.Each("ports", [&](dom::element item, std::string path) {
    Reader reader(item, std::move(path), spec.status());
    ServicePort port;
    port.name = std::string(reader.Text("name"));
    port.protocol = ReadProtocol(reader);
    port.port = static_cast<Port>(reader.Int("port", kMaxPort));
    port.node_port = static_cast<Port>(reader.Int("nodePort", kMaxPort));
    if (port.port == 0) reader.Fail("port", "missing");
    service->ports.push_back(std::move(port));
  });
}

void ReadLoadBalancer(const Reader& root, const Reader& spec,
                      Service* service) {
  root.Object("status").Object("loadBalancer").Each(
      "ingress", [&](dom::element item, std::string path) {
        Reader ingress(item, std::move(path), root.status());
        std::string_view ip = ingress.Text("ip");
        std::string_view mode = ingress.Text("ipMode");
        if (ip.empty() || (!mode.empty() && mode != "VIP")) return;
        auto address = IpAddress::Parse(ip);
        if (!address.ok()) {
          return ingress.Fail("ip", address.status().message());
        }
        service->load_balancer_vips.push_back(*address);
      });
  for (const std::string& text : spec.Texts("loadBalancerSourceRanges")) {
    auto prefix = IpPrefix::Parse(Std(absl::StripAsciiWhitespace(text)),
                                  /*mask_host_bits=*/true);
    if (!prefix.ok()) {
      spec.Fail("loadBalancerSourceRanges", prefix.status().message());
      continue;
    }
    service->source_ranges.push_back(*prefix);
  }
}

void ReadAffinity(const Reader& spec, Service* service) {
  if (spec.Text("sessionAffinity") != "ClientIP") return;
  int64_t seconds = spec.Object("sessionAffinityConfig")
                        .Object("clientIP")
                        .Int("timeoutSeconds", kMaxAffinitySeconds);
  service->affinity =
      absl::Seconds(seconds > 0 ? seconds : kDefaultAffinitySeconds);
}

std::vector<std::string> ReadHints(const Reader& hints, std::string_view key) {
  std::vector<std::string> names;
  hints.Each(key, [&](dom::element item, std::string path) {
    Reader hint(item, std::move(path), hints.status());
    names.emplace_back(hint.Text("name"));
  });
  return names;
}

void ReadEndpoints(const Reader& root, EndpointSlice* slice) {
  root.Each("endpoints", [&](dom::element item, std::string path) {
    Reader reader(item, std::move(path), root.status());
    std::vector<std::string> addresses = reader.Texts("addresses");
    if (addresses.empty()) return reader.Fail("addresses", "missing");
    if (!slice->family.has_value()) return;  // FQDN
    auto address = IpAddress::Parse(addresses[0]);
    if (!address.ok()) {
      return reader.Fail("addresses[0]", address.status().message());
    }
    if (address->family() != *slice->family) {
      return reader.Fail("addresses[0]", "not of the slice's addressType");
    }
    Endpoint endpoint;
    endpoint.address = *address;
    Reader conditions = reader.Object("conditions");
    endpoint.ready = conditions.Bool("ready").value_or(true);
    endpoint.serving = conditions.Bool("serving").value_or(true);
    endpoint.terminating = conditions.Bool("terminating").value_or(false);
    endpoint.node_name = std::string(reader.Text("nodeName"));
    Reader hints = reader.Object("hints");
    endpoint.zone_hints = ReadHints(hints, "forZones");
    endpoint.node_hints = ReadHints(hints, "forNodes");
    slice->endpoints.push_back(std::move(endpoint));
  });
}

void ReadEndpointPorts(const Reader& root, EndpointSlice* slice) {
  root.Each("ports", [&](dom::element item, std::string path) {
    dom::object object;
    dom::element name;
    Reader reader(item, std::move(path), root.status());
    // An empty name is a name; none at all is a slice of no use to a proxy.
    if (item.get(object) || object["name"].get(name) || name.is_null()) return;
    EndpointPort port;
    port.name = std::string(reader.Text("name"));
    port.protocol = ReadProtocol(reader);
    port.port = static_cast<Port>(reader.Int("port", kMaxPort));
    if (port.port != 0) slice->ports.push_back(std::move(port));
  });
}

}  // namespace

absl::StatusOr<Service> DecodeService(std::string_view json) {
  return Decode<Service>(
      json, [](const Reader& root, const Reader& meta, Service* service) {
        Reader spec = root.Object("spec");
        service->type = ReadServiceType(spec);
        ReadClusterIps(spec, service);
        service->other_proxy =
            !meta.Object("labels")
                 .Text(kServiceProxyNameLabel)
                 .empty();
        ReadServicePorts(spec, service);
        service->external_ips = spec.Addresses("externalIPs");
        ReadLoadBalancer(root, spec, service);
        ReadAffinity(spec, service);
        service->internal_local =
            spec.Text("internalTrafficPolicy") == "Local";
        service->external_local =
            spec.Text("externalTrafficPolicy") == "Local";
        service->health_check_node_port =
            static_cast<Port>(spec.Int("healthCheckNodePort", kMaxPort));
      });
}

absl::StatusOr<EndpointSlice> DecodeEndpointSlice(std::string_view json) {
  return Decode<EndpointSlice>(
      json, [](const Reader& root, const Reader& meta, EndpointSlice* slice) {
        slice->service_name = std::string(
            meta.Object("labels").Text(kServiceNameLabel));
        std::string_view type = root.Text("addressType");
        if (type == "IPv4") {
          slice->family = IpFamily::kIpv4;
        } else if (type == "IPv6") {
          slice->family = IpFamily::kIpv6;
        } else if (type != "FQDN") {
          root.Fail("addressType", "unknown");
        }
        ReadEndpointPorts(root, slice);
        ReadEndpoints(root, slice);
        std::string_view changed =
            meta.Object("annotations").Text(kLastChangeAnnotation);
        absl::Time time;
        if (absl::ParseTime(absl::RFC3339_full, Absl(changed), &time,
                            nullptr)) {
          slice->last_change = time;
        }
      });
}

absl::StatusOr<Node> DecodeNode(std::string_view json) {
  return Decode<Node>(
      json, [](const Reader& root, const Reader& meta, Node* node) {
        node->zone = std::string(
            meta.Object("labels").Text(kZoneLabel));
        root.Object("status").Each(
            "addresses", [&](dom::element item, std::string path) {
              Reader reader(item, std::move(path), root.status());
              if (reader.Text("type") != "InternalIP") return;
              auto address = IpAddress::Parse(reader.Text("address"));
              if (address.ok()) node->internal_ips.push_back(*address);
            });
        node->being_deleted = !meta.Text("deletionTimestamp").empty();
        Reader spec = root.Object("spec");
        spec.Each("taints", [&](dom::element item, std::string path) {
          Reader reader(item, std::move(path), root.status());
          node->taints.emplace_back(reader.Text("key"));
        });
        std::vector<std::string> cidrs = spec.Texts("podCIDRs");
        if (cidrs.empty() && !spec.Text("podCIDR").empty()) {
          cidrs.emplace_back(spec.Text("podCIDR"));
        }
        for (const std::string& text : cidrs) {
          auto prefix = IpPrefix::Parse(text, /*mask_host_bits=*/true);
          if (!prefix.ok()) {
            spec.Fail("podCIDRs", prefix.status().message());
            continue;
          }
          node->pod_cidrs.push_back(*prefix);
        }
      });
}

absl::StatusOr<ServiceCidr> DecodeServiceCidr(std::string_view json) {
  return Decode<ServiceCidr>(
      json, [](const Reader& root, const Reader&, ServiceCidr* ranges) {
        Reader spec = root.Object("spec");
        for (const std::string& text : spec.Texts("cidrs")) {
          auto prefix = IpPrefix::Parse(text, /*mask_host_bits=*/true);
          if (!prefix.ok()) {
            spec.Fail("cidrs", prefix.status().message());
            continue;
          }
          ranges->cidrs.push_back(*prefix);
        }
      });
}

absl::StatusOr<ObjectMeta> DecodeMeta(std::string_view json) {
  struct Any {
    ObjectMeta meta;
  };
  FL_ASSIGN_OR_RETURN(
      Any any, Decode<Any>(json, [](const Reader&, const Reader&, Any*) {}));
  return std::move(any.meta);
}

std::string EndpointSliceServiceName(std::string_view json) {
  auto slice = Decode<EndpointSlice>(
      json, [](const Reader&, const Reader& meta, EndpointSlice* s) {
        s->service_name = std::string(
            meta.Object("labels").Text(kServiceNameLabel));
      });
  return slice.ok() ? slice->service_name : "";
}

}  // namespace fairlead::kube
