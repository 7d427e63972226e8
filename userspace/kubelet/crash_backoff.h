// SPDX-License-Identifier: Apache-2.0
// How long a container that ends again and again waits before its next start:
// not at all after the first end, then 10 s doubling up to 5 min, forgotten
// once it has run for twice the maximum. A plain value; not thread-safe.
#ifndef FAIRLEAD_USERSPACE_KUBELET_CRASH_BACKOFF_H_
#define FAIRLEAD_USERSPACE_KUBELET_CRASH_BACKOFF_H_

#include <algorithm>

#include "absl/time/time.h"

namespace fairlead::kubelet {

class CrashBackoff {
 public:
  CrashBackoff() : CrashBackoff(absl::Seconds(10), absl::Minutes(5)) {}
  CrashBackoff(absl::Duration initial, absl::Duration maximum)
      : initial_(initial), maximum_(maximum) {}

  // The container ran for `ran` and ended. Returns the wait from its end on.
  absl::Duration OnExit(absl::Duration ran) {
    if (ran >= 2 * maximum_) next_ = absl::ZeroDuration();
    current_ = next_;
    next_ = next_ == absl::ZeroDuration() ? std::min(initial_, maximum_)
                                          : std::min(2 * next_, maximum_);
    return current_;
  }
  // The wait that applies now.
  absl::Duration current() const { return current_; }

 private:
  absl::Duration initial_, maximum_;
  absl::Duration current_ = absl::ZeroDuration();
  absl::Duration next_ = absl::ZeroDuration();
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_CRASH_BACKOFF_H_
