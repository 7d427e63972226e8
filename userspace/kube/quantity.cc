// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/quantity.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

constexpr __int128 kNano = 1'000'000'000;
// The API clamps amounts to what a signed 64-bit integer holds.
constexpr __int128 kMax =
    static_cast<__int128>(std::numeric_limits<int64_t>::max()) * kNano;

struct Suffix {
  std::string_view text;
  int decimal;  // power of ten, or
  int binary;   // power of two
};
constexpr Suffix kSuffixes[] = {
    {"", 0, 0},    {"n", -9, 0},   {"u", -6, 0},  {"m", -3, 0},
    {"k", 3, 0},   {"M", 6, 0},    {"G", 9, 0},   {"T", 12, 0},
    {"P", 15, 0},  {"E", 18, 0},   {"Ki", 0, 10}, {"Mi", 0, 20},
    {"Gi", 0, 30}, {"Ti", 0, 40},  {"Pi", 0, 50}, {"Ei", 0, 60},
};

absl::Status NotAQuantity() {
  return absl::InvalidArgumentError(
      "quantities must match the regular expression "
      "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The number behind "e" or "E"; nullopt when it is not an exponent.
std::optional<int> ParseExponent(std::string_view text) {
  if (text.size() < 2 || (text[0] != 'e' && text[0] != 'E')) return {};
  bool negative = text[1] == '-';
  size_t i = text[1] == '-' || text[1] == '+' ? 2 : 1;
  if (i == text.size() || text.size() - i > 4) return {};
  int exponent = 0;
  for (; i < text.size(); ++i) {
    if (!IsDigit(text[i])) return {};
    exponent = exponent * 10 + (text[i] - '0');
  }
  return negative ? -exponent : exponent;
}

__int128 ClampedMultiply(__int128 a, __int128 b) {
  __int128 product;
  if (__builtin_mul_overflow(a, b, &product)) return kMax;
  return product;
}

// Digits with the last `scale` of them behind the point, times 10^decimal and
// 2^binary, in nanos, rounded up; not negative.
__int128 Nanos(__int128 digits, int scale, int decimal, int binary) {
  __int128 value = digits;
  for (int i = 0; i < binary; ++i) value = ClampedMultiply(value, 2);
  int power = 9 + decimal - scale;
  for (; power > 0 && value < kMax; --power) value = ClampedMultiply(value, 10);
  bool inexact = false;
  for (; power < 0; ++power) {
    inexact |= value % 10 != 0;
    value /= 10;
    if (value == 0) break;
  }
  return std::min(kMax, value + (inexact ? 1 : 0));
}

int64_t RoundUp(__int128 nanos, __int128 unit) {
  __int128 result = nanos / unit;
  if (nanos % unit > 0) ++result;
  return static_cast<int64_t>(std::clamp<__int128>(
      result, std::numeric_limits<int64_t>::min(),
      std::numeric_limits<int64_t>::max()));
}

std::string Decimal(__int128 value) {
  if (value == 0) return "0";
  bool negative = value < 0;
  std::string text;
  for (__int128 v = negative ? -value : value; v > 0; v /= 10) {
    text.push_back(static_cast<char>('0' + static_cast<int>(v % 10)));
  }
  if (negative) text.push_back('-');
  std::reverse(text.begin(), text.end());
  return text;
}

}  // namespace

Quantity Quantity::FromValue(int64_t value) {
  Quantity q;
  q.nanos_ = static_cast<__int128>(value) * kNano;
  return q;
}

Quantity Quantity::FromMilli(int64_t milli) {
  Quantity q;
  q.nanos_ = static_cast<__int128>(milli) * (kNano / 1000);
  return q;
}

absl::StatusOr<Quantity> Quantity::Parse(std::string_view text) {
  size_t i = 0;
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    i = 1;
  }
  __int128 digits = 0;
  int scale = 0, seen = 0;
  bool point = false;
  for (; i < text.size() && (IsDigit(text[i]) || text[i] == '.'); ++i) {
    if (text[i] == '.') {
      if (point) return NotAQuantity();
      point = true;
      continue;
    }
    ++seen;
    // Beyond 30 digits only the clamp is left, or what is too fine to keep.
    if (digits >= kMax) {
      if (!point) --scale;
      continue;
    }
    digits = digits * 10 + (text[i] - '0');
    if (point) ++scale;
  }
  if (seen == 0) return NotAQuantity();
  std::string_view rest = text.substr(i);

  Quantity q;
  if (auto exponent = ParseExponent(rest)) {
    q.format_ = Format::kDecimalExponent;
    q.nanos_ = Nanos(digits, scale, std::clamp(*exponent, -60, 60), 0);
  } else {
    const auto* suffix = std::find_if(
        std::begin(kSuffixes), std::end(kSuffixes),
        [&](const Suffix& s) { return s.text == rest; });
    if (suffix == std::end(kSuffixes)) {
      return absl::InvalidArgumentError("unable to parse quantity's suffix");
    }
    q.format_ = suffix->binary > 0 ? Format::kBinarySi : Format::kDecimalSi;
    q.nanos_ = Nanos(digits, scale, suffix->decimal, suffix->binary);
  }
  if (negative) q.nanos_ = -q.nanos_;
  return q;
}

absl::StatusOr<Quantity> Quantity::FromJson(const nlohmann::json& value) {
  if (value.is_string()) return Parse(value.get_ref<const std::string&>());
  if (value.is_number()) return Parse(value.dump());
  return NotAQuantity();
}

int64_t Quantity::value() const { return RoundUp(nanos_, kNano); }
int64_t Quantity::milli() const { return RoundUp(nanos_, kNano / 1000); }
bool Quantity::is_whole() const { return nanos_ % kNano == 0; }

std::string Quantity::ToString() const {
  if (nanos_ == 0) return "0";
  Format format = format_;
  __int128 magnitude = nanos_ < 0 ? -nanos_ : nanos_;
  if (format == Format::kBinarySi &&
      (magnitude < 1024 * kNano || !is_whole())) {
    format = Format::kDecimalSi;
  }
  if (format == Format::kBinarySi) {
    static constexpr const char* kNames[] = {"",   "Ki", "Mi", "Gi",
                                             "Ti", "Pi", "Ei"};
    __int128 value = nanos_ / kNano;
    int power = 0;
    while (power < 6 && value % 1024 == 0) {
      value /= 1024;
      ++power;
    }
    return StrCat(Decimal(value), kNames[power]);
  }
  __int128 value = nanos_;
  int power = -9;
  while (power < 18 && value % 1000 == 0) {
    value /= 1000;
    power += 3;
  }
  if (format == Format::kDecimalExponent) {
    return power == 0 ? Decimal(value) : StrCat(Decimal(value), "e", power);
  }
  static constexpr const char* kNames[] = {"n", "u", "m", "",  "k",
                                           "M", "G", "T", "P", "E"};
  return StrCat(Decimal(value), kNames[(power + 9) / 3]);
}

Quantity& Quantity::operator+=(const Quantity& other) {
  if (nanos_ == 0) format_ = other.format_;
  nanos_ = std::clamp<__int128>(nanos_ + other.nanos_, -kMax, kMax);
  return *this;
}

Quantity& Quantity::operator-=(const Quantity& other) {
  if (nanos_ == 0) format_ = other.format_;
  nanos_ = std::clamp<__int128>(nanos_ - other.nanos_, -kMax, kMax);
  return *this;
}

}  // namespace fairlead::kube
