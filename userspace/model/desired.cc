// SPDX-License-Identifier: Apache-2.0
#include "userspace/model/desired.h"

namespace fairlead::model {

std::string_view FrontendKindName(FrontendKind kind) {
  switch (kind) {
    case FrontendKind::kClusterIp:
      return "ClusterIP";
    case FrontendKind::kNodePort:
      return "NodePort";
    case FrontendKind::kLoadBalancer:
      return "LoadBalancer";
    case FrontendKind::kExternalIp:
      return "ExternalIP";
  }
  return "";
}

fl_verdict Frontend::internal_verdict() const {
  return static_cast<fl_verdict>(
      (flags >> FL_SERVICE_INTERNAL_VERDICT_SHIFT) & FL_SERVICE_VERDICT_MASK);
}

fl_verdict Frontend::external_verdict() const {
  return static_cast<fl_verdict>(
      (flags >> FL_SERVICE_EXTERNAL_VERDICT_SHIFT) & FL_SERVICE_VERDICT_MASK);
}

}  // namespace fairlead::model
