// SPDX-License-Identifier: Apache-2.0
// One GET of a kubelet's, whole.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_KUBELET_FETCH_H_
#define FAIRLEAD_CONTROL_API_KUBELET_FETCH_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "control/api/kubelet_address.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/byte_stream.h"

namespace fairlead::api {

struct KubeletFetch {
  KubeletAddress address;
  std::string netns;  // from where the node is reached; "": from here
  std::string path;
  absl::Duration limit;
  size_t max_bytes = 0;
};

// `done` runs once, later, with the body of a 200; what else there was is the
// error. `loop` outlives it. Null `tls`: plain HTTP.
void Fetch(EventLoop* loop, const KubeletFetch& what,
           const std::shared_ptr<kube::TlsSettings>& tls,
           std::function<void(absl::StatusOr<std::string>)> done);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_KUBELET_FETCH_H_
