// SPDX-License-Identifier: Apache-2.0
// Columns and cells of the kinds' Tables (kubectl get prints nothing else).
// Pure functions.
#ifndef FAIRLEAD_CONTROL_API_TABLES_H_
#define FAIRLEAD_CONTROL_API_TABLES_H_

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/api/kind.h"

namespace fairlead::api {

struct Printer {
  std::vector<Column> columns;
  std::function<std::vector<Json>(const Json& object, absl::Time now)> cells;
};

Printer NamespacePrinter();
Printer NodePrinter();
Printer PodPrinter();
Printer ServicePrinter();
Printer EndpointSlicePrinter();
Printer ConfigMapPrinter();
Printer SecretPrinter();
Printer ServiceAccountPrinter();
Printer EventPrinter();
Printer LeasePrinter();
Printer ReplicaSetPrinter();
Printer DeploymentPrinter();
Printer DaemonSetPrinter();
Printer JobPrinter();
Printer ControllerRevisionPrinter();
Printer PodDisruptionBudgetPrinter();
Printer EndpointsPrinter();
Printer PriorityClassPrinter();
Printer IpAddressPrinter();
Printer ServiceCidrPrinter();
Printer NodeMetricsPrinter();
Printer PodMetricsPrinter();

// "6s", "7m25s", "3h", "2y30d"; "<invalid>" for what is in the future.
std::string HumanDuration(absl::Duration duration);
// The time since an RFC 3339 text; "<unknown>" when there is none.
std::string Since(const Json& time, absl::Time now);
// "a=1,b=2", or "<none>".
std::string FormatLabels(const Json& labels);
// Of a LabelSelector: "app=x,tier in (a,b),!old", or "<none>".
std::string FormatSelector(const Json& selector);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_TABLES_H_
