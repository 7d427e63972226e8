// SPDX-License-Identifier: Apache-2.0
// The token that goes with each request; one from a file is read again as it
// rotates (a kubelet renews a pod's token long before it expires).
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBE_BEARER_TOKEN_H_
#define FAIRLEAD_USERSPACE_KUBE_BEARER_TOKEN_H_

#include <string>

#include "absl/time/time.h"

namespace fairlead::kube {

class BearerToken {
 public:
  // `file` "": `token` for ever.
  BearerToken(std::string token, std::string file)
      : token_(std::move(token)), file_(std::move(file)) {}

  // "" is none. `now` is monotonic. The last good token stays while the file
  // can't be read.
  const std::string& Current(absl::Duration now);
  // The server refused it: the file is read before the next request.
  void Refused() { next_read_ = absl::ZeroDuration(); }

 private:
  std::string token_;
  std::string file_;
  absl::Duration next_read_ = absl::ZeroDuration();
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_BEARER_TOKEN_H_
