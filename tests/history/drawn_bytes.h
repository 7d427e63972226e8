// SPDX-License-Identifier: Apache-2.0
// Choices drawn from bytes: a fuzzer's, or a generator's. When they are used
// up, each choice is the first one.
#ifndef FAIRLEAD_TESTS_HISTORY_DRAWN_BYTES_H_
#define FAIRLEAD_TESTS_HISTORY_DRAWN_BYTES_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace fairlead::history {

class DrawnBytes {
 public:
  explicit DrawnBytes(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  bool done() const { return at_ >= bytes_.size(); }
  // 0 to n - 1. REQUIRES: n > 0.
  uint32_t Below(uint32_t n) {
    uint32_t value = Next();
    if (n > 256) value = value << 8 | Next();
    return value % n;
  }
  bool OneIn(uint32_t n) { return Below(n) == n - 1; }
  template <typename T, size_t N>
  const T& Of(const T (&choices)[N]) {
    return choices[Below(N)];
  }

 private:
  uint8_t Next() { return done() ? 0 : bytes_[at_++]; }

  absl::Span<const uint8_t> bytes_;
  size_t at_ = 0;
};

}  // namespace fairlead::history

#endif  // FAIRLEAD_TESTS_HISTORY_DRAWN_BYTES_H_
