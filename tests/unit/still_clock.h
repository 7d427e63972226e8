// SPDX-License-Identifier: Apache-2.0
// A clock whose wall time stands where the test began, so that a test never
// depends on whether a second has turned between two of its steps. (What is
// measured, Monotonic(), goes on.)
#ifndef FAIRLEAD_TESTS_UNIT_STILL_CLOCK_H_
#define FAIRLEAD_TESTS_UNIT_STILL_CLOCK_H_

#include "absl/time/time.h"
#include "userspace/base/clock.h"

namespace fairlead {

class StillClock final : public Clock {
 public:
  absl::Time Now() const override { return now_; }
  absl::Duration Monotonic() const override { return Real().Monotonic(); }

 private:
  const absl::Time now_ = Real().Now();
};

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_UNIT_STILL_CLOCK_H_
