// SPDX-License-Identifier: Apache-2.0
// The rows of the kinds that are no pods and in no file of their own.
#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "control/api/json_access.h"
#include "control/api/tables.h"
#include "control/api/tables_cells.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// At most three, then how many more there are.
std::string FirstThree(const std::vector<std::string>& all) {
  if (all.empty()) return "<unset>";
  size_t shown = std::min<size_t>(3, all.size());
  std::string text =
      absl::StrJoin(all.begin(), all.begin() + static_cast<long>(shown), ",");
  if (all.size() > shown) {
    StrAppend(&text, " + ", all.size() - shown, " more...");
  }
  return text;
}

std::string ExternalIp(const Json& service) {
  std::string_view type = Text(service, {"spec", "type"});
  if (type == "ExternalName") {
    return std::string(Text(service, {"spec", "externalName"}));
  }
  std::vector<std::string> addresses;
  if (type == "LoadBalancer") {
    std::set<std::string> ingress;  // sorted, as they are printed
    for (const Json& each :
         List(service, {"status", "loadBalancer", "ingress"})) {
      std::string_view ip = Text(each, "ip");
      std::string_view address = ip.empty() ? Text(each, "hostname") : ip;
      if (!address.empty()) ingress.emplace(address);
    }
    addresses.assign(ingress.begin(), ingress.end());
  }
  for (const Json& ip : List(service, {"spec", "externalIPs"})) {
    addresses.emplace_back(Text(ip));
  }
  if (!addresses.empty()) return absl::StrJoin(addresses, ",");
  return type == "LoadBalancer" ? "<pending>" : "<none>";
}

std::string ServicePorts(const Json& service) {
  std::vector<std::string> ports;
  for (const Json& port : List(service, {"spec", "ports"})) {
    std::string text = StrCat(Int(port, "port"));
    if (Int(port, "nodePort") > 0) StrAppend(&text, ":", Int(port, "nodePort"));
    StrAppend(&text, "/", Text(port, "protocol"));
    ports.push_back(std::move(text));
  }
  return Or(absl::StrJoin(ports, ","), "<none>");
}

std::vector<Json> ServiceCells(const Json& o, absl::Time now) {
  const Json& ips = List(o, {"spec", "clusterIPs"});
  return {Name(o),
          Text(o, {"spec", "type"}),
          Or(ips.empty() ? std::string_view() : Text(ips[0]), "<none>"),
          ExternalIp(o),
          ServicePorts(o),
          Age(o, now),
          FormatLabels(Get(o, {"spec", "selector"}))};
}

std::vector<Json> EndpointSliceCells(const Json& o, absl::Time now) {
  std::vector<std::string> ports, addresses;
  for (const Json& port : List(o, "ports")) {
    if (Get(port, "port").is_number()) {
      ports.push_back(StrCat(Int(port, "port")));
    } else {
      ports.push_back(Get(port, "name").is_string()
                          ? std::string(Text(port, "name"))
                          : "*");
    }
  }
  for (const Json& endpoint : List(o, "endpoints")) {
    for (const Json& address : List(endpoint, "addresses")) {
      addresses.emplace_back(Text(address));
    }
  }
  return {Name(o), Text(o, "addressType"), FirstThree(ports),
          FirstThree(addresses), Age(o, now)};
}

std::string NodeStatus(const Json& node) {
  std::string text = "Unknown";
  for (const Json& condition : List(node, {"status", "conditions"})) {
    if (Text(condition, "type") != "Ready") continue;
    text = Text(condition, "status") == "True" ? "Ready" : "NotReady";
  }
  if (IsTrue(Get(node, {"spec", "unschedulable"}))) {
    text += ",SchedulingDisabled";
  }
  return text;
}

std::string NodeRoles(const Json& node) {
  static constexpr std::string_view kPrefix = "node-role.kubernetes.io/";
  std::set<std::string> roles;
  const Json& labels = Map(Get(node, {"metadata", "labels"}));
  for (const auto& [key, value] : labels.items()) {
    if (key.starts_with(kPrefix)) {
      if (key.size() > kPrefix.size()) roles.insert(key.substr(kPrefix.size()));
    } else if (key == "kubernetes.io/role" && !Text(value).empty()) {
      roles.emplace(Text(value));
    }
  }
  return roles.empty() ? "<none>" : absl::StrJoin(roles, ",");
}

std::string NodeAddress(const Json& node, std::string_view type) {
  for (const Json& address : List(node, {"status", "addresses"})) {
    if (Text(address, "type") == type) {
      return std::string(Text(address, "address"));
    }
  }
  return "<none>";
}

std::vector<Json> NodeCells(const Json& o, absl::Time now) {
  const Json& system = Get(o, {"status", "nodeInfo"});
  std::string kernel = Or(Text(system, "kernelVersion"), "<unknown>");
  if (!Text(system, "architecture").empty()) {
    StrAppend(&kernel, " (", Text(system, "architecture"), ")");
  }
  return {Name(o),
          NodeStatus(o),
          NodeRoles(o),
          Age(o, now),
          Text(system, "kubeletVersion"),
          NodeAddress(o, "InternalIP"),
          NodeAddress(o, "ExternalIP"),
          Or(Text(system, "osImage"), "<unknown>"),
          kernel,
          Or(Text(system, "containerRuntimeVersion"), "<unknown>")};
}

std::vector<Json> DeploymentCells(const Json& o, absl::Time now) {
  const Json& status = Get(o, "status");
  return {Name(o),
          StrCat(Int(status, "readyReplicas"), "/",
                 Int(Get(o, {"spec", "replicas"}))),
          Int(status, "updatedReplicas"),
          Int(status, "availableReplicas"),
          Age(o, now),
          Containers(o, "name"),
          Containers(o, "image"),
          FormatSelector(Get(o, {"spec", "selector"}))};
}

std::vector<Json> ReplicaSetCells(const Json& o, absl::Time now) {
  const Json& status = Get(o, "status");
  return {Name(o),
          Int(Get(o, {"spec", "replicas"})),
          Int(status, "replicas"),
          Int(status, "readyReplicas"),
          Age(o, now),
          Containers(o, "name"),
          Containers(o, "image"),
          FormatSelector(Get(o, {"spec", "selector"}))};
}

std::vector<Json> EventCells(const Json& o, absl::Time now) {
  auto or_field = [&](std::string_view a, std::string_view b) {
    return std::string(a.empty() ? b : a);
  };
  bool has_first = Get(o, "firstTimestamp").is_string();
  std::string first =
      Since(Get(o, has_first ? "firstTimestamp" : "eventTime"), now);
  std::string last = Get(o, "lastTimestamp").is_string()
                         ? Since(Get(o, "lastTimestamp"), now)
                         : first;
  int64_t count = std::max<int64_t>(Int(o, "count"), 1);
  const Json& series = Get(o, "series");
  if (series.is_object()) {
    last = Since(Get(series, "lastObservedTime"), now);
    count = Int(series, "count");
  }
  const Json& involved = Get(o, "involvedObject");
  std::string target = absl::AsciiStrToLower(Absl(Text(involved, "kind")));
  if (!Text(involved, "name").empty()) {
    StrAppend(&target, "/", Text(involved, "name"));
  }
  std::string source = or_field(Text(o, {"source", "component"}),
                                Text(o, "reportingComponent"));
  std::string instance =
      or_field(Text(o, {"source", "host"}), Text(o, "reportingInstance"));
  if (!instance.empty()) StrAppend(&source, ", ", instance);
  std::string message(Text(o, "message"));
  absl::StripAsciiWhitespace(&message);
  return {last,   Text(o, "type"), Text(o, "reason"),
          target, Text(involved, "fieldPath"),
          source, message,         first,
          count,  Name(o)};
}

}  // namespace

Printer NamespacePrinter() {
  return {Columns({"Name", "Status", "Age"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o), Text(o, {"status", "phase"}), Age(o, now)};
          }};
}

Printer NodePrinter() {
  return {Columns({"Name", "Status", "Roles", "Age", "Version", "+Internal-IP",
                   "+External-IP", "+OS-Image", "+Kernel-Version",
                   "+Container-Runtime"}),
          NodeCells};
}

Printer ServicePrinter() {
  return {Columns({"Name", "Type", "Cluster-IP", "External-IP", "Port(s)",
                   "Age", "+Selector"}),
          ServiceCells};
}

Printer EndpointSlicePrinter() {
  return {Columns({"Name", "AddressType", "Ports", "Endpoints", "Age"}),
          EndpointSliceCells};
}

Printer ConfigMapPrinter() {
  return {Columns({"Name", "Data", "Age"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o),
                    Map(o, "data").size() + Map(o, "binaryData").size(),
                    Age(o, now)};
          }};
}

Printer SecretPrinter() {
  return {Columns({"Name", "Type", "Data", "Age"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o), Text(o, "type"), Map(o, "data").size(),
                    Age(o, now)};
          }};
}

Printer ServiceAccountPrinter() {
  return {Columns({"Name", "Age"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o), Age(o, now)};
          }};
}

Printer EventPrinter() {
  return {Columns({"Last Seen", "Type", "Reason", "Object", "+Subobject",
                   "+Source", "Message", "+First Seen", "+Count", "+Name"}),
          EventCells};
}

Printer LeasePrinter() {
  return {Columns({"Name", "Holder", "Age"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o), Text(o, {"spec", "holderIdentity"}), Age(o, now)};
          }};
}

Printer ReplicaSetPrinter() {
  Printer printer{Columns({"Name", "Desired", "Current", "Ready", "Age",
                           "+Containers", "+Images", "+Selector"}),
                  ReplicaSetCells};
  for (int i : {1, 2, 3}) printer.columns[i].type = "integer";
  return printer;
}

Printer DeploymentPrinter() {
  return {Columns({"Name", "Ready", "Up-to-date", "Available", "Age",
                   "+Containers", "+Images", "+Selector"}),
          DeploymentCells};
}

}  // namespace fairlead::api
