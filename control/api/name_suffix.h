// SPDX-License-Identifier: Apache-2.0
// The five characters that make a name one of its own.
#ifndef FAIRLEAD_CONTROL_API_NAME_SUFFIX_H_
#define FAIRLEAD_CONTROL_API_NAME_SUFFIX_H_

#include <string>
#include <string_view>

#include "absl/random/random.h"

namespace fairlead::api {

inline std::string RandomNameSuffix(absl::BitGen& random) {
  // Kubernetes' own choice: no vowels (no words), no look-alikes.
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  for (int i = 0; i < 5; ++i) {
    out += kLetters[absl::Uniform<size_t>(random, 0, kLetters.size())];
  }
  return out;
}

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_NAME_SUFFIX_H_
