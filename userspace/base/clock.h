// SPDX-License-Identifier: Apache-2.0
// The seam for time. Implementations are safe to call from any thread.
#ifndef FAIRLEAD_USERSPACE_BASE_CLOCK_H_
#define FAIRLEAD_USERSPACE_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace fairlead {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time; may jump.
  virtual absl::Time Now() const = 0;
  // Time since an arbitrary start (CLOCK_MONOTONIC); never goes back.
  virtual absl::Duration Monotonic() const = 0;

  // The machine's clock; lives for ever.
  static const Clock& Real();
};

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_CLOCK_H_
