// SPDX-License-Identifier: Apache-2.0
#include "tests/history/drawn_objects.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "control/api/kinds.h"
#include "control/api/protobuf_object.h"
#include "userspace/base/strings.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/wire.h"
#include "userspace/model/compile.h"

namespace fairlead::history {
namespace {

constexpr const char* kOddStrings[] = {
    "", "x", "tcp", "SCTP", "ICMP", "Local", "None", "Proxy", "IPv6", "FQDN",
    "0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "10.96.0.1",
    "10.96.0.1/8", "010.0.0.1", "1.2.3", " 10.0.0.1", "::", "::1", "ff02::1",
    "fe80::1", "::ffff:10.0.0.1", "fd00:96::1", "fd00::/129", "0.0.0.0/0",
    "ns", "svc-1", "slice-0-0", "9999-12-31T23:59:59Z", "\xc3\x28"};
constexpr double kOddNumbers[] = {-1,    0,     1,          80,   65535,
                                  65536, 1e300, 4294967296, -0.5, 86401};

Json Meta(const std::string& name, DrawnBytes* drawn) {
  return {{"name", name},
          {"namespace", "ns"},
          {"uid", StrCat("uid-", name)},
          {"resourceVersion", "7"},
          {"creationTimestamp",
           StrCat("2026-01-01T00:00:0", drawn->Below(3), "Z")}};
}

Json DrawConditions(DrawnBytes* drawn) {
  switch (drawn->Below(4)) {
    case 1:
      return {{"ready", false}, {"serving", true}, {"terminating", true}};
    case 2:
      return {{"ready", false}, {"serving", false}};
    default:
      return {{"ready", true}};
  }
}

Json OddValue(DrawnBytes* drawn) {
  switch (drawn->Below(8)) {
    case 0:
      return nullptr;
    case 1:
      return drawn->OneIn(2);
    case 2:
      return kOddNumbers[drawn->Below(std::size(kOddNumbers))];
    case 3:
      return UINT64_MAX;
    case 4:
      return Json::array();
    case 5:
      return Json::object({{"x", 1}});
    case 6:
      return std::string(300, 'a');
    default:
      return kOddStrings[drawn->Below(std::size(kOddStrings))];
  }
}

// Somewhere in the tree, and what holds it (null: it is the root).
struct Place {
  Json* at;
  Json* parent = nullptr;
  std::string key;
  size_t index = 0;
};

Place DrawPlace(Json* root, DrawnBytes* drawn) {
  Place place{root};
  while (place.at->is_structured() && !place.at->empty() &&
         (place.parent == nullptr || !drawn->OneIn(4))) {
    place.parent = place.at;
    const auto size = static_cast<uint32_t>(place.at->size());
    auto it = place.at->begin();
    place.index = drawn->Below(size);
    std::advance(it, place.index);
    if (place.at->is_object()) place.key = it.key();
    place.at = &*it;
  }
  return place;
}

void Remove(const Place& place) {
  if (place.parent->is_object()) {
    place.parent->erase(place.key);
  } else {
    place.parent->erase(place.index);
  }
}

void Duplicate(const Place& place) {
  const Json copy = *place.at;
  if (place.parent->is_array()) {
    place.parent->push_back(copy);
  } else {
    (*place.parent)["x-" + place.key] = copy;
  }
}

// The server's own encoder.
const api::ProtobufObjects& Encoder() {
  static const api::KindTable* kinds = new api::KindTable(api::MakeKindTable());
  static const auto* objects = new api::ProtobufObjects(kinds);
  return *objects;
}

std::string MessageOf(const Json& object) {
  const std::string bytes = Encoder().WatchFrame("ADDED", object);
  if (bytes.size() < 4) return "";
  auto frame =
      kube::DecodeProtobufWatchFrame(std::string_view(bytes).substr(4));
  return frame.ok() ? std::string(frame->object.bytes) : "";
}

Judgement Refused(const kube::EncodedObject& object) {
  return kube::DecodeMeta(object).ok() ? Judgement::kRefused
                                       : Judgement::kNameless;
}

// A field of wire type 2.
void AppendField(int number, const std::string& content, std::string* out) {
  out->push_back(static_cast<char>(number << 3 | 2));
  for (size_t n = content.size(); ; n >>= 7) {
    out->push_back(static_cast<char>(n < 128 ? n : 128 | (n & 127)));
    if (n < 128) break;
  }
  *out += content;
}

std::string Envelope(const std::string& message, const std::string& kind,
                     const std::string& api_version) {
  std::string type_meta, unknown;
  AppendField(1, api_version, &type_meta);
  AppendField(2, kind, &type_meta);
  AppendField(1, type_meta, &unknown);
  AppendField(2, message, &unknown);
  return std::string("k8s\0", 4) + unknown;
}

}  // namespace

Judgement JudgeService(const kube::EncodedObject& object) {
  auto service = kube::DecodeService(object);
  return service.ok() && model::CheckService(*service).ok()
             ? Judgement::kTaken
             : Refused(object);
}

Judgement JudgeEndpointSlice(const kube::EncodedObject& object) {
  auto slice = kube::DecodeEndpointSlice(object);
  return slice.ok() && model::CheckEndpointSlice(*slice).ok()
             ? Judgement::kTaken
             : Refused(object);
}

Json DrawService(uint32_t number, DrawnBytes* drawn) {
  const uint32_t shared = drawn->Below(2);  // who else wants it
  Json ips = {StrCat("10.96.0.", number + 1)};
  if (drawn->OneIn(2)) ips.push_back(StrCat("fd00:96::", number + 1));
  Json ports = Json::array();
  for (uint32_t p = 0; p < 1 + drawn->Below(2); ++p) {
    Json port = {{"name", p == 0 ? "a" : "b"},
                 {"protocol", drawn->OneIn(3) ? "UDP" : "TCP"},
                 {"port", 80 + p}};
    if (drawn->OneIn(2)) port["nodePort"] = 30000 + 2 * shared + p;
    ports.push_back(port);
  }
  Json spec = {{"type", "LoadBalancer"},
               {"clusterIP", ips[0]},
               {"clusterIPs", ips},
               {"ports", ports}};
  if (drawn->OneIn(3)) spec["internalTrafficPolicy"] = "Local";
  if (drawn->OneIn(3)) {
    spec["externalTrafficPolicy"] = "Local";
    spec["healthCheckNodePort"] = 32000 + number;
  }
  if (drawn->OneIn(3)) {
    spec["sessionAffinity"] = "ClientIP";
    spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] =
        10 + drawn->Below(2);
  }
  if (drawn->OneIn(3)) {
    spec["externalIPs"] = {StrCat("203.0.113.", 101 + shared)};
  }
  Json service = {{"kind", "Service"},
                  {"apiVersion", "v1"},
                  {"metadata", Meta(StrCat("svc-", number), drawn)},
                  {"spec", spec}};
  if (drawn->OneIn(2)) {
    service["status"]["loadBalancer"]["ingress"] = {
        {{"ip", StrCat("203.0.113.", 1 + shared)}}};
    if (drawn->OneIn(2)) {
      service["spec"]["loadBalancerSourceRanges"] = {"198.51.100.0/24"};
    }
  }
  return service;
}

Json DrawEndpointSlice(uint32_t service, uint32_t number, DrawnBytes* drawn) {
  const bool v6 = number > 0;
  Json meta = Meta(StrCat("slice-", service, "-", number), drawn);
  meta["labels"] = {
      {"kubernetes.io/service-name", StrCat("svc-", service)}};
  Json endpoints = Json::array();
  for (uint32_t i = 0; i < drawn->Below(5); ++i) {
    Json endpoint = {
        {"addresses",
         {StrCat(v6 ? "fd00:244::" : "10.244.0.", 1 + drawn->Below(8))}},
        {"conditions", DrawConditions(drawn)},
        {"nodeName", StrCat("node-", drawn->Below(2))}};
    if (drawn->OneIn(3)) {
      endpoint["hints"]["forZones"] = {
          {{"name", StrCat("zone-", drawn->Below(2))}}};
    }
    endpoints.push_back(endpoint);
  }
  return {{"kind", "EndpointSlice"},
          {"apiVersion", "discovery.k8s.io/v1"},
          {"metadata", meta},
          {"addressType", v6 ? "IPv6" : "IPv4"},
          {"ports",
           {{{"name", "a"},
             {"protocol", drawn->OneIn(3) ? "UDP" : "TCP"},
             {"port", 8080 + drawn->Below(2)}},
            {{"name", "b"}, {"protocol", "TCP"}, {"port", 8090}}}},
          {"endpoints", endpoints}};
}

Json DrawNode(DrawnBytes* drawn) {
  Json meta = Meta("node-0", drawn);
  meta.erase("namespace");
  meta["labels"] = {
      {"topology.kubernetes.io/zone", StrCat("zone-", drawn->Below(2))}};
  return {{"kind", "Node"},
          {"apiVersion", "v1"},
          {"metadata", meta},
          {"spec",
           {{"podCIDR", "10.244.0.0/24"}, {"podCIDRs", {"10.244.0.0/24"}}}},
          {"status",
           {{"addresses",
             {{{"type", "InternalIP"},
               {"address", StrCat("192.0.2.", 10 + drawn->Below(2))}}}}}}};
}

Json DrawServiceCidr(DrawnBytes* drawn) {
  Json meta = Meta("kubernetes", drawn);
  meta.erase("namespace");
  return {{"kind", "ServiceCIDR"},
          {"apiVersion", "networking.k8s.io/v1"},
          {"metadata", meta},
          {"spec", {{"cidrs", {"10.96.0.0/16", "fd00:96::/108"}}}}};
}

void MutateTree(Json* object, DrawnBytes* drawn) {
  const Place place = DrawPlace(object, drawn);
  switch (drawn->Below(5)) {
    case 0:
      return Remove(place);
    case 1:
      return Duplicate(place);
    case 2:
      // An element or a field of one place becomes another's.
      *place.at = Json(*DrawPlace(object, drawn).at);
      return;
    default:
      *place.at = OddValue(drawn);
  }
}

void MutateBytes(std::string* bytes, DrawnBytes* drawn) {
  for (uint32_t i = 0; i <= drawn->Below(3) && !bytes->empty(); ++i) {
    const uint32_t at =
        drawn->Below(static_cast<uint32_t>(std::min<size_t>(bytes->size(),
                                                            65535)));
    switch (drawn->Below(5)) {
      case 0:
        (*bytes)[at] = static_cast<char>(drawn->Below(256));
        break;
      case 1:
        (*bytes)[at] ^= static_cast<char>(1 << drawn->Below(8));
        break;
      case 2:
        bytes->erase(at, 1 + drawn->Below(4));
        break;
      case 3:
        bytes->insert(at, bytes->substr(at, 1 + drawn->Below(32)));
        break;
      default:
        if (drawn->OneIn(3)) bytes->resize(at);
    }
  }
}

SentObject::SentObject(const Json& object, kube::Encoding encoding) {
  if (encoding == kube::Encoding::kProtobuf) bytes_ = MessageOf(object);
  if (!bytes_.empty()) {
    encoding_ = encoding;
  } else {
    bytes_ = object.dump(-1, ' ', false, Json::error_handler_t::ignore);
  }
}

std::string SentObject::WatchFrame(const std::string& type,
                                   const std::string& kind,
                                   const std::string& api_version) const {
  if (encoding_ == kube::Encoding::kJson) {
    return StrCat(R"({"type":")", type, R"(","object":)", bytes_, "}\n");
  }
  std::string raw, event;
  AppendField(1, Envelope(bytes_, kind, api_version), &raw);
  AppendField(1, type, &event);
  AppendField(2, raw, &event);
  std::string frame;
  for (int shift : {24, 16, 8, 0}) {
    frame.push_back(static_cast<char>(event.size() >> shift));
  }
  return frame + event;
}

kube::EncodedObject SentObject::view() const {
  padded_ = bytes_ + std::string(64, '\0');
  return {encoding_, std::string_view(padded_).substr(0, bytes_.size())};
}

std::string SentObject::ToString() const {
  return encoding_ == kube::Encoding::kJson
             ? std::string(absl::Utf8SafeCHexEscape(bytes_))
             : StrCat("protobuf ", absl::CHexEscape(bytes_));
}

}  // namespace fairlead::history
