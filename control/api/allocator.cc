// SPDX-License-Identifier: Apache-2.0
#include "control/api/allocator.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "control/api/json_access.h"
#include "control/api/service_rules.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// What the stock server shows for a dry run: nothing that it gives out.
constexpr Port kDryRunOffset = 2;

// Addresses or ports that are held, and by which write if it is still open.
template <typename T>
class Claims {
 public:
  bool Has(const T& value) const { return held_.contains(value); }
  void Hold(const T& value) { held_[value].clear(); }
  void Claim(const T& value, const std::string& writer) {
    held_.try_emplace(value, writer);
  }
  void Release(const T& value) { held_.erase(value); }
  // Releases what this open write claimed; never what is stored or another's.
  void Abort(const T& value, const std::string& writer) {
    auto it = held_.find(value);
    if (it != held_.end() && !writer.empty() && it->second == writer) {
      held_.erase(it);
    }
  }
  size_t size() const { return held_.size(); }

 private:
  absl::flat_hash_map<T, std::string> held_;  // "": stored
};

// One address family's range.
struct AddressRange {
  IpPrefix prefix;
  uint64_t size = 0;  // usable offsets are [1, size)

  explicit AddressRange(const IpPrefix& p) : prefix(p) {
    int host_bits = (p.family() == IpFamily::kIpv4 ? 32 : 128) - p.bits();
    // A /64 has more addresses than will ever be asked for.
    size = uint64_t{1} << std::min(host_bits, 62);
    // The last one of an IPv4 range is its broadcast address.
    if (p.family() == IpFamily::kIpv4) --size;
  }
};

struct WantedClaims {
  std::vector<IpAddress> addresses;
  std::vector<Port> ports;
};

// What a Service holds.
WantedClaims HeldBy(const Json& service) {
  WantedClaims out;
  if (NeedsClusterIp(service) && !IsHeadless(service)) {
    for (const Json& ip : List(service, {"spec", "clusterIPs"})) {
      if (auto address = IpAddress::Parse(Text(ip)); address.ok()) {
        out.addresses.push_back(*address);
      }
    }
  }
  if (NeedsNodePorts(service)) {
    for (const Json& port : List(service, {"spec", "ports"})) {
      int64_t number = Int(port, "nodePort");
      if (number > 0 && number < 65536) {
        out.ports.push_back(static_cast<Port>(number));
      }
    }
  }
  if (NeedsHealthCheckNodePort(service)) {
    int64_t number = Int(Get(service, {"spec", "healthCheckNodePort"}));
    if (number > 0 && number < 65536) {
      out.ports.push_back(static_cast<Port>(number));
    }
  }
  return out;
}

template <typename T>
bool Contains(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

FieldError InvalidField(std::string field, const Json& value,
                        std::string_view message) {
  return {"FieldValueInvalid", std::move(field),
          StrCat("Invalid value: ",
                 value.dump(-1, ' ', false, Json::error_handler_t::replace),
                 ": ", message)};
}

std::string WriterOf(const Json& object) {
  return StrCat(Text(object, {"metadata", "namespace"}), "/",
                Text(object, {"metadata", "name"}));
}

class ServiceAllocator : public Admission {
 public:
  explicit ServiceAllocator(const ServiceAllocatorOptions& options)
      : first_port_(options.node_port_first),
        last_port_(options.node_port_last),
        random_(options.seed != 0 ? options.seed : std::random_device()()) {
    for (const IpPrefix& prefix : options.service_cidrs) {
      ranges_.emplace_back(prefix);
    }
  }

  FieldErrors Admit(const Kind& kind, WriteVerb verb, bool dry_run,
                    Json& object, const Json* before) override;
  void Committed(const Kind& kind, const Json* before,
                 const Json* after) override;
  void Aborted(const Kind& kind, const Json& object,
               const Json* before) override;
  void Restore(const Kind& kind, const Json& object) override;

 private:
  // One Admit: what it has claimed so far, so that it can be undone.
  struct Write {
    std::string writer;
    bool dry_run = false;
    WantedClaims before;
    std::vector<IpAddress> addresses;
    std::vector<Port> ports;
    FieldErrors errors;
  };

  void SetFamilies(Json& spec, FieldErrors* errors);
  void AllocateAddresses(Write* write, Json& spec);
  void AllocateNodePorts(Write* write, Json& spec, bool allocate);
  void AllocateHealthCheckPort(Write* write, Json& spec);

  std::optional<IpAddress> NextAddress(Write* write, IpFamily family);
  std::string ClaimAddress(Write* write, const IpAddress& address);
  std::optional<Port> NextPort(Write* write);
  std::string ClaimPort(Write* write, int64_t number);

  const AddressRange* RangeOf(IpFamily family) const {
    for (const AddressRange& range : ranges_) {
      if (range.prefix.family() == family) return &range;
    }
    return nullptr;
  }
  const AddressRange* RangeOf(std::string_view family) const {
    return RangeOf(family == "IPv6" ? IpFamily::kIpv6 : IpFamily::kIpv4);
  }

  std::vector<AddressRange> ranges_;  // the first is the default family's
  Port first_port_;
  Port last_port_;
  std::mt19937_64 random_;
  Claims<IpAddress> addresses_;
  Claims<Port> ports_;
};

bool IsService(const Kind& kind) {
  return kind.resource.kind == "Service" && kind.resource.group.empty();
}

// Completes ipFamilies and ipFamilyPolicy from what was asked and what this
// cluster has.
void ServiceAllocator::SetFamilies(Json& spec, FieldErrors* errors) {
  Json& families = spec["ipFamilies"];
  if (!families.is_array()) families = Json::array();
  const Json ips = List(spec, "clusterIPs");
  bool headless = !ips.empty() && Text(ips[0]) == "None";
  std::string policy(Text(spec, "ipFamilyPolicy"));
  bool single = policy.empty() || policy == "SingleStack";

  bool selectorless = headless && Map(spec, "selector").empty();
  if (single && (!selectorless || policy == "SingleStack")) {
    constexpr std::string_view kMessage =
        "must be 'RequireDualStack' or 'PreferDualStack' when multiple ";
    Json value = policy.empty() ? Json() : Json(policy);
    if (ips.size() == 2) {
      errors->push_back(
          InvalidField("spec.ipFamilyPolicy", value,
                       StrCat(kMessage, "cluster IPs are specified")));
    }
    if (families.size() == 2) {
      errors->push_back(
          InvalidField("spec.ipFamilyPolicy", value,
                       StrCat(kMessage, "IP families are specified")));
    }
  }
  for (size_t i = families.size(); !headless && i < ips.size(); ++i) {
    std::string_view family =
        Text(ips[i]).find(':') != std::string_view::npos ? "IPv6" : "IPv4";
    if (RangeOf(family) == nullptr) {
      errors->push_back(
          InvalidField(StrCat("spec.clusterIPs[", i, "]"), ips,
                       StrCat(family, " is not configured on this cluster")));
      return;
    }
    families.push_back(family);
  }
  if (!errors->empty()) return;

  auto add_other = [&] {
    if (families.size() != 1) return;
    families.push_back(Text(families[0]) == "IPv4" ? "IPv6" : "IPv4");
  };
  auto default_family = [&] {
    return IpFamilyName(ranges_[0].prefix.family());
  };
  if (selectorless) {
    // Whoever writes the endpoints decides on the families, not this cluster.
    if (families.empty()) families.push_back(default_family());
    if (policy != "SingleStack") add_other();
    if (policy.empty()) spec["ipFamilyPolicy"] = "RequireDualStack";
    return;
  }
  if (policy == "RequireDualStack" && ranges_.size() < 2) {
    errors->push_back(
        InvalidField("spec.ipFamilyPolicy", policy,
                     "this cluster is not configured for dual-stack services"));
  }
  for (size_t i = 0; i < families.size(); ++i) {
    if (RangeOf(Text(families[i])) != nullptr) continue;
    errors->push_back(InvalidField(StrCat("spec.ipFamilies[", i, "]"),
                                   families[i],
                                   "not configured on this cluster"));
  }
  if (!errors->empty()) return;
  if (policy.empty()) spec["ipFamilyPolicy"] = "SingleStack";
  if (families.empty()) families.push_back(default_family());
  if (!single && ranges_.size() > 1) add_other();
}

std::optional<IpAddress> ServiceAllocator::NextAddress(Write* write,
                                                       IpFamily family) {
  const AddressRange* range = RangeOf(family);
  if (range == nullptr) return {};
  if (write->dry_run) return range->prefix.address();
  // The start of the range is for addresses that people choose, so the rest
  // is tried first.
  uint64_t band =
      std::min(std::max<uint64_t>(16, range->size / 16), uint64_t{256});
  band = range->size > 2 * band ? band : 0;
  auto try_range = [&](uint64_t first,
                       uint64_t last) -> std::optional<IpAddress> {
    if (first >= last) return {};
    uint64_t count = last - first;
    uint64_t start = random_() % count;
    // Among this many in a row one must be free.
    uint64_t tries = std::min<uint64_t>(count, addresses_.size() + 1);
    for (uint64_t i = 0; i < tries; ++i) {
      IpAddress address = range->prefix.At(first + (start + i) % count);
      if (addresses_.Has(address)) continue;
      addresses_.Claim(address, write->writer);
      write->addresses.push_back(address);
      return address;
    }
    return {};
  };
  auto address = try_range(1 + band, range->size);
  return address ? address : try_range(1, 1 + band);
}

// "" when the address is the Service's, else why not.
std::string ServiceAllocator::ClaimAddress(Write* write,
                                           const IpAddress& address) {
  if (Contains(write->before.addresses, address)) return "";
  const AddressRange* range = RangeOf(address.family());
  bool usable = range != nullptr && range->prefix.Contains(address) &&
                address != range->prefix.address() &&
                (address.family() == IpFamily::kIpv6 ||
                 address != range->prefix.At(range->size));
  if (!usable) return "the provided network does not match the current range";
  if (addresses_.Has(address)) return "provided IP is already allocated";
  if (write->dry_run) return "";
  addresses_.Claim(address, write->writer);
  write->addresses.push_back(address);
  return "";
}

void ServiceAllocator::AllocateAddresses(Write* write, Json& spec) {
  Json ips = List(spec, "clusterIPs");
  const Json asked = ips.empty() ? Json::array({""}) : ips;
  for (size_t i = 0; i < List(spec, "ipFamilies").size(); ++i) {
    std::string_view name = Text(spec["ipFamilies"][i]);
    if (i < ips.size()) {
      auto address = IpAddress::Parse(Text(ips[i]));
      if (!address.ok()) return;  // validation has the words for it
      std::string why = ClaimAddress(write, *address);
      if (!why.empty()) {
        write->errors.push_back(InvalidField(
            "spec.clusterIPs", asked,
            StrCat("failed to allocate IP ", Text(ips[i]), ": ", why)));
        return;
      }
      continue;
    }
    auto address = NextAddress(
        write, name == "IPv6" ? IpFamily::kIpv6 : IpFamily::kIpv4);
    if (!address) {
      write->errors.push_back(InvalidField(
          "spec.clusterIPs", asked, "failed to allocate IP: range is full"));
      return;
    }
    ips.push_back(address->ToString());
  }
  if (ips.empty()) return;
  spec["clusterIP"] = ips[0];
  spec["clusterIPs"] = std::move(ips);
}

std::optional<Port> ServiceAllocator::NextPort(Write* write) {
  if (write->dry_run) {
    write->ports.push_back(last_port_);  // only counts
    return static_cast<Port>(last_port_ + kDryRunOffset - 1 +
                             write->ports.size());
  }
  uint32_t size = last_port_ - first_port_ + 1u;
  // As with addresses: the first ones are for people to choose.
  uint32_t band = std::min(std::max(16u, size / 32), 128u);
  if (size <= 2 * band) band = 0;
  auto try_range = [&](uint32_t first, uint32_t count) -> std::optional<Port> {
    if (count == 0) return {};
    uint32_t start = static_cast<uint32_t>(random_() % count);
    for (uint32_t i = 0; i < count; ++i) {
      Port port =
          static_cast<Port>(first_port_ + first + (start + i) % count);
      if (ports_.Has(port)) continue;
      ports_.Claim(port, write->writer);
      write->ports.push_back(port);
      return port;
    }
    return {};
  };
  auto port = try_range(band, size - band);
  return port ? port : try_range(0, band);
}

std::string ServiceAllocator::ClaimPort(Write* write, int64_t number) {
  if (number < first_port_ || number > last_port_) {
    return StrCat(
        "provided port is not in the valid range. The range of valid ports is ",
        first_port_, "-", last_port_);
  }
  Port port = static_cast<Port>(number);
  if (ports_.Has(port)) return "provided port is already allocated";
  if (write->dry_run) return "";
  ports_.Claim(port, write->writer);
  write->ports.push_back(port);
  return "";
}

// Ports of one number (DNS over TCP and UDP) share their node port.
void ServiceAllocator::AllocateNodePorts(Write* write, Json& spec,
                                         bool allocate) {
  auto it = spec.find("ports");
  if (it == spec.end() || !it->is_array()) return;
  Json& ports = *it;
  absl::flat_hash_map<int64_t, int64_t> shared;  // port -> node port
  for (const Json& port : ports) {
    int64_t node_port = Int(port, "nodePort");
    if (node_port != 0) shared.try_emplace(Int(port, "port"), node_port);
  }
  absl::flat_hash_set<std::pair<int64_t, int64_t>> mine;  // node port, port
  for (size_t i = 0; i < ports.size(); ++i) {
    Json& port = ports[i];
    if (!port.is_object()) continue;
    int64_t number = Int(port, "port");
    int64_t node_port = Int(port, "nodePort");
    if (node_port == 0) {
      if (!allocate) continue;
      auto known = shared.find(number);
      if (known != shared.end()) {
        port["nodePort"] = node_port = known->second;
      }
    }
    if (node_port == 0) {
      auto next = NextPort(write);
      if (!next) {
        write->errors.push_back(
            InvalidField(StrCat("spec.ports[", i, "].nodePort"), 0,
                         "failed to allocate a nodePort: range is full"));
        return;
      }
      port["nodePort"] = *next;
      shared[number] = *next;
      mine.emplace(*next, number);
      continue;
    }
    bool had = node_port > 0 && node_port < 65536 &&
               Contains(write->before.ports, static_cast<Port>(node_port));
    if (had || !mine.emplace(node_port, number).second) continue;
    std::string why = ClaimPort(write, node_port);
    if (!why.empty()) {
      write->errors.push_back(InvalidField(
          StrCat("spec.ports[", i, "].nodePort"), node_port, why));
      return;
    }
  }
}

void ServiceAllocator::AllocateHealthCheckPort(Write* write, Json& spec) {
  int64_t number = Int(spec, "healthCheckNodePort");
  if (number == 0) {
    auto next = NextPort(write);
    if (next) {
      spec["healthCheckNodePort"] = *next;
    } else {
      write->errors.push_back(
          InvalidField("spec.healthCheckNodePort", 0,
                       "failed to allocate a HealthCheck NodePort: range is "
                       "full"));
    }
    return;
  }
  if (number > 0 && number < 65536 &&
      Contains(write->before.ports, static_cast<Port>(number))) {
    return;
  }
  std::string why = ClaimPort(write, number);
  if (!why.empty()) {
    write->errors.push_back(InvalidField(
        "spec.healthCheckNodePort", number,
        StrCat("failed to allocate requested HealthCheck NodePort ", number,
               ": ", why)));
  }
}

FieldErrors ServiceAllocator::Admit(const Kind& kind, WriteVerb verb,
                                    bool dry_run, Json& object,
                                    const Json* before) {
  if (!IsService(kind) || verb == WriteVerb::kUpdateStatus) return {};
  if (!NeedsClusterIp(object)) return {};
  FieldErrors errors = ValidateClusterIpFields(object);
  if (!errors.empty()) return errors;

  Write write{.writer = WriterOf(object), .dry_run = dry_run};
  if (before != nullptr) write.before = HeldBy(*before);
  Json& spec = Sub(object, "spec");
  SetFamilies(spec, &write.errors);
  if (!write.errors.empty()) return write.errors;

  // An address that may not change is validation's to refuse.
  bool kept = before != nullptr && NeedsClusterIp(*before) &&
              Get(spec, "clusterIP") != Get(*before, {"spec", "clusterIP"});
  if (!IsHeadless(object) && !kept) AllocateAddresses(&write, spec);
  if (write.errors.empty() && NeedsNodePorts(object)) {
    AllocateNodePorts(&write, spec, AllocatesNodePorts(object));
  }
  if (write.errors.empty() && NeedsHealthCheckNodePort(object)) {
    AllocateHealthCheckPort(&write, spec);
  }
  if (!write.errors.empty() && !dry_run) {
    for (const IpAddress& address : write.addresses) {
      addresses_.Release(address);
    }
    for (Port port : write.ports) ports_.Release(port);
  }
  return write.errors;
}

void ServiceAllocator::Committed(const Kind& kind, const Json* before,
                                 const Json* after) {
  if (!IsService(kind)) return;
  WantedClaims now;
  if (after != nullptr) now = HeldBy(*after);
  if (before != nullptr) {
    WantedClaims old = HeldBy(*before);
    for (const IpAddress& address : old.addresses) {
      if (!Contains(now.addresses, address)) addresses_.Release(address);
    }
    for (Port port : old.ports) {
      if (!Contains(now.ports, port)) ports_.Release(port);
    }
  }
  for (const IpAddress& address : now.addresses) addresses_.Hold(address);
  for (Port port : now.ports) ports_.Hold(port);
}

void ServiceAllocator::Aborted(const Kind& kind, const Json& object,
                               const Json* before) {
  if (!IsService(kind)) return;
  WantedClaims old;
  if (before != nullptr) old = HeldBy(*before);
  WantedClaims now = HeldBy(object);
  std::string writer = WriterOf(object);
  for (const IpAddress& address : now.addresses) {
    if (!Contains(old.addresses, address)) addresses_.Abort(address, writer);
  }
  for (Port port : now.ports) {
    if (!Contains(old.ports, port)) ports_.Abort(port, writer);
  }
}

void ServiceAllocator::Restore(const Kind& kind, const Json& object) {
  if (IsService(kind)) Committed(kind, nullptr, &object);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Admission>> MakeServiceAllocator(
    const ServiceAllocatorOptions& options) {
  if (options.service_cidrs.empty()) {
    return absl::InvalidArgumentError("no range of service addresses");
  }
  absl::flat_hash_set<IpFamily> families;
  for (const IpPrefix& prefix : options.service_cidrs) {
    if (!families.insert(prefix.family()).second) {
      return absl::InvalidArgumentError(
          StrCat("two ranges of service addresses are ",
                 IpFamilyName(prefix.family())));
    }
    if (AddressRange(prefix).size < 8) {
      return absl::InvalidArgumentError(
          StrCat("the range ", prefix.ToString(), " is too small"));
    }
  }
  if (options.node_port_first == 0 ||
      options.node_port_first > options.node_port_last) {
    return absl::InvalidArgumentError("the range of node ports is empty");
  }
  return std::make_unique<ServiceAllocator>(options);
}

}  // namespace fairlead::api
