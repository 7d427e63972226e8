// SPDX-License-Identifier: Apache-2.0
// Amounts as the API writes them: "100m", "1.5", "128Mi", "2e3".
// A plain value; exact to 1e-9, the finest amount the API knows.
#ifndef FAIRLEAD_USERSPACE_KUBE_QUANTITY_H_
#define FAIRLEAD_USERSPACE_KUBE_QUANTITY_H_

#include <compare>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead::kube {

class Quantity {
 public:
  Quantity() = default;  // zero
  static Quantity FromValue(int64_t value);
  static Quantity FromMilli(int64_t milli);
  // kInvalidArgument for what is not a quantity.
  [[nodiscard]] static absl::StatusOr<Quantity> Parse(std::string_view text);
  // A JSON string or number.
  [[nodiscard]] static absl::StatusOr<Quantity> FromJson(
      const nlohmann::json& value);

  // Whole units (bytes, pods) and thousandths (millicores), rounded up and
  // clamped to the type.
  int64_t value() const;
  int64_t milli() const;
  int sign() const { return nanos_ < 0 ? -1 : nanos_ > 0 ? 1 : 0; }
  bool is_whole() const;

  // The canonical text: the largest suffix of its format that keeps it exact
  // ("1000m" is "1", "1024Ki" is "1Mi").
  std::string ToString() const;

  Quantity& operator+=(const Quantity& other);
  Quantity& operator-=(const Quantity& other);
  // By amount; "1Gi" == "1024Mi".
  friend bool operator==(const Quantity& a, const Quantity& b) {
    return a.nanos_ == b.nanos_;
  }
  friend std::strong_ordering operator<=>(const Quantity& a,
                                          const Quantity& b) {
    return a.nanos_ < b.nanos_   ? std::strong_ordering::less
           : a.nanos_ > b.nanos_ ? std::strong_ordering::greater
                                 : std::strong_ordering::equal;
  }

 private:
  enum class Format : uint8_t { kDecimalSi, kBinarySi, kDecimalExponent };

  __int128 nanos_ = 0;
  Format format_ = Format::kDecimalSi;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_QUANTITY_H_
