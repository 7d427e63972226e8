// SPDX-License-Identifier: Apache-2.0
// /healthz, /livez and /readyz, whole and by check, as a Kubernetes API server
// answers them (k8s.io/apiserver, server/healthz): ?verbose lists the checks,
// ?exclude=NAME leaves one out. The whole answer withholds reasons, since
// everybody may ask for it; the answer of a single check tells them.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_HEALTH_H_
#define FAIRLEAD_CONTROL_API_HEALTH_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "control/api/http.h"

namespace fairlead::api {

class Health {
 public:
  Health();

  // kReady: not of /livez, because a restart would not help.
  enum class Of { kReady, kAll };
  void Add(std::string name, Of of, std::function<absl::Status()> check);

  // nullopt: `path` is not one of these.
  std::optional<kube::Response> Serve(std::string_view method,
                                      std::string_view path,
                                      const Query& query) const;
  // Of all that Serve knows.
  std::vector<std::string> Paths() const;

 private:
  struct Check {
    std::string name;
    Of of;
    std::function<absl::Status()> run;
  };
  kube::Response Whole(std::string_view endpoint, const Query& query) const;

  std::vector<Check> checks_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_HEALTH_H_
