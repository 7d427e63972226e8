// SPDX-License-Identifier: Apache-2.0
// The rows of DaemonSet, Job, ControllerRevision and PodDisruptionBudget, of
// the small cluster kinds, and of what they use.
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "control/api/json_access.h"
#include "control/api/quantity.h"
#include "control/api/tables.h"
#include "control/api/tables_cells.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

std::vector<Json> DaemonSetCells(const Json& o, absl::Time now) {
  const Json& status = Get(o, "status");
  return {Name(o),
          Int(status, "desiredNumberScheduled"),
          Int(status, "currentNumberScheduled"),
          Int(status, "numberReady"),
          Int(status, "updatedNumberScheduled"),
          Int(status, "numberAvailable"),
          FormatLabels(Get(o, {"spec", "template", "spec", "nodeSelector"})),
          Age(o, now),
          Containers(o, "name"),
          Containers(o, "image"),
          FormatSelector(Get(o, {"spec", "selector"}))};
}

const Json* TrueCondition(const Json& object, std::string_view type) {
  for (const Json& condition : List(object, {"status", "conditions"})) {
    if (Text(condition, "type") == type &&
        Text(condition, "status") == "True") {
      return &condition;
    }
  }
  return nullptr;
}

std::string JobStatus(const Json& job) {
  for (const char* type : {"Complete", "Failed"}) {
    if (TrueCondition(job, type) != nullptr) return type;
  }
  if (!Text(job, {"metadata", "deletionTimestamp"}).empty()) {
    return "Terminating";
  }
  for (const char* type :
       {"Suspended", "FailureTarget", "SuccessCriteriaMet"}) {
    if (TrueCondition(job, type) != nullptr) return type;
  }
  return "Running";
}

std::string JobCompletions(const Json& job) {
  int64_t succeeded = Int(Get(job, {"status", "succeeded"}));
  const Json& wanted = Get(job, {"spec", "completions"});
  if (wanted.is_number()) return StrCat(succeeded, "/", Int(wanted));
  int64_t parallelism = Int(Get(job, {"spec", "parallelism"}));
  std::string text = StrCat(succeeded, "/1");
  if (parallelism > 1) StrAppend(&text, " of ", parallelism);
  return text;
}

std::string JobDuration(const Json& job, absl::Time now) {
  std::string_view start = Text(job, {"status", "startTime"});
  if (start.empty()) return "";
  absl::Time began, ended = now;
  std::string_view end = Text(job, {"status", "completionTime"});
  if (end.empty()) {
    const Json* failed = TrueCondition(job, "Failed");
    if (failed != nullptr) end = Text(*failed, "lastTransitionTime");
  }
  absl::ParseTime(absl::RFC3339_full, Absl(start), &began, nullptr);
  if (!end.empty()) {
    absl::ParseTime(absl::RFC3339_full, Absl(end), &ended, nullptr);
  }
  return HumanDuration(ended - began);
}

std::vector<Json> JobCells(const Json& o, absl::Time now) {
  return {Name(o),
          JobStatus(o),
          JobCompletions(o),
          JobDuration(o, now),
          Age(o, now),
          Containers(o, "name"),
          Containers(o, "image"),
          FormatSelector(Get(o, {"spec", "selector"}))};
}

std::vector<Json> ControllerRevisionCells(const Json& o, absl::Time now) {
  std::string controller = "<none>";
  for (const Json& owner : List(o, {"metadata", "ownerReferences"})) {
    if (!IsTrue(owner, "controller")) continue;
    std::string_view version = Text(owner, "apiVersion");
    size_t slash = version.find('/');
    controller = absl::AsciiStrToLower(Absl(Text(owner, "kind")));
    if (slash != std::string_view::npos) {
      StrAppend(&controller, ".", version.substr(0, slash));
    }
    StrAppend(&controller, "/", Text(owner, "name"));
  }
  return {Name(o), controller, Int(o, "revision"), Age(o, now)};
}

// A count or percentage as kubectl shows it.
std::string Amount(const Json& value) {
  if (value.is_number()) return StrCat(Int(value));
  return Or(Text(value), "N/A");
}

std::vector<Json> BudgetCells(const Json& o, absl::Time now) {
  return {Name(o), Amount(Get(o, {"spec", "minAvailable"})),
          Amount(Get(o, {"spec", "maxUnavailable"})),
          Int(Get(o, {"status", "disruptionsAllowed"})), Age(o, now)};
}

// Three of them, then how many more there are.
std::string EndpointAddresses(const Json& endpoints) {
  std::vector<std::string> all;
  for (const Json& subset : List(endpoints, "subsets")) {
    const Json& ports = List(subset, "ports");
    for (size_t i = 0; i < std::max<size_t>(ports.size(), 1); ++i) {
      for (const Json& address : List(subset, "addresses")) {
        std::string text(Text(address, "ip"));
        if (!ports.empty()) {
          if (text.find(':') != text.npos) text = StrCat("[", text, "]");
          StrAppend(&text, ":", Int(ports[i], "port"));
        }
        all.push_back(std::move(text));
      }
    }
  }
  if (all.empty()) return "<none>";
  size_t more = all.size() > 3 ? all.size() - 3 : 0;
  all.resize(all.size() - more);
  std::string text = absl::StrJoin(all, ",");
  if (more > 0) StrAppend(&text, " + ", more, " more...");
  return text;
}

std::vector<Json> PriorityClassCells(const Json& o, absl::Time now) {
  return {Name(o), Int(o, "value"), IsTrue(o, "globalDefault"), Age(o, now),
          Text(o, "preemptionPolicy")};
}

std::vector<Json> IpAddressCells(const Json& o, absl::Time now) {
  const Json& parent = Get(o, {"spec", "parentRef"});
  std::string text(Text(parent, "resource"));
  if (!Text(parent, "group").empty()) {
    StrAppend(&text, ".", Text(parent, "group"));
  }
  StrAppend(&text, "/", Text(parent, "namespace"), "/", Text(parent, "name"));
  // The stock server answers three cells for its two columns.
  return {Name(o), text, Age(o, now)};
}

std::vector<Json> ServiceCidrCells(const Json& o, absl::Time now) {
  std::vector<std::string> cidrs;
  for (const Json& cidr : List(o, {"spec", "cidrs"})) {
    cidrs.emplace_back(Text(cidr));
  }
  return {Name(o), absl::StrJoin(cidrs, ","), Age(o, now)};
}

std::vector<Json> NodeMetricsCells(const Json& o, absl::Time) {
  return {Name(o), Get(o, {"usage", "cpu"}), Get(o, {"usage", "memory"}),
          Get(o, "window")};
}

std::vector<Json> PodMetricsCells(const Json& o, absl::Time) {
  Quantity cpu, memory;
  const auto amount = [](const Json& container, std::string_view resource) {
    return Quantity::FromJson(Get(container, {"usage", resource}))
        .value_or(Quantity());
  };
  for (const Json& container : List(o, "containers")) {
    cpu += amount(container, "cpu");
    memory += amount(container, "memory");
  }
  return {Name(o), cpu.ToString(), memory.ToString(), Get(o, "window")};
}

// As metrics-server has them.
Printer MetricsPrinter(std::vector<Json> (*cells)(const Json&, absl::Time)) {
  Printer printer{Columns({"Name", "cpu", "memory", "Window"}), cells};
  printer.columns[1].format = printer.columns[2].format = "quantity";
  printer.columns[3].format = "duration";
  return printer;
}

}  // namespace

Printer DaemonSetPrinter() {
  Printer printer{Columns({"Name", "Desired", "Current", "Ready", "Up-to-date",
                           "Available", "Node Selector", "Age", "+Containers",
                           "+Images", "+Selector"}),
                  DaemonSetCells};
  for (int i = 1; i <= 5; ++i) printer.columns[i].type = "integer";
  return printer;
}

Printer JobPrinter() {
  return {Columns({"Name", "Status", "Completions", "Duration", "Age",
                   "+Containers", "+Images", "+Selector"}),
          JobCells};
}

Printer ControllerRevisionPrinter() {
  return {Columns({"Name", "Controller", "Revision", "Age"}),
          ControllerRevisionCells};
}

Printer PodDisruptionBudgetPrinter() {
  Printer printer{Columns({"Name", "Min Available", "Max Unavailable",
                           "Allowed Disruptions", "Age"}),
                  BudgetCells};
  printer.columns[3].type = "integer";
  return printer;
}

Printer EndpointsPrinter() {
  return {Columns({"Name", "Endpoints", "Age"}),
          [](const Json& o, absl::Time now) -> std::vector<Json> {
            return {Name(o), EndpointAddresses(o), Age(o, now)};
          }};
}

Printer NodeMetricsPrinter() { return MetricsPrinter(NodeMetricsCells); }

Printer PodMetricsPrinter() { return MetricsPrinter(PodMetricsCells); }

Printer PriorityClassPrinter() {
  Printer printer{
      Columns({"Name", "Value", "Global-Default", "Age", "PreemptionPolicy"}),
      PriorityClassCells};
  printer.columns[1].type = "integer";
  printer.columns[2].type = "boolean";
  return printer;
}

Printer IpAddressPrinter() {
  return {Columns({"Name", "ParentRef"}), IpAddressCells};
}

Printer ServiceCidrPrinter() {
  return {Columns({"Name", "CIDRs", "Age"}), ServiceCidrCells};
}

}  // namespace fairlead::api
