// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "control/api/int_or_string.h"
#include "control/api/quantity.h"
#include "gtest/gtest.h"

namespace fairlead::api {
namespace {

struct Row {
  const char* text;
  const char* canonical;
  int64_t value;
  int64_t milli;
};

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(Quantity, ParsesAndPrintsCanonically) {
  const Row rows[] = {
      {"0", "0", 0, 0},
      {"1", "1", 1, 1000},
      {"1000m", "1", 1, 1000},
      {"100m", "100m", 1, 100},
      {"0.5", "500m", 1, 500},
      {".5", "500m", 1, 500},
      {"1.", "1", 1, 1000},
      {"1.5Gi", "1536Mi", 1610612736, 1610612736000},
      {"128Mi", "128Mi", 134217728, 134217728000},
      {"1024Ki", "1Mi", 1048576, 1048576000},
      {"512Ki", "512Ki", 524288, 524288000},
      {"1000Ki", "1000Ki", 1024000, 1024000000},
      {"1000", "1k", 1000, 1000000},
      {"1500k", "1500k", 1500000, 1500000000},
      {"1e3", "1e3", 1000, 1000000},
      {"12E2", "1200", 1200, 1200000},
      {"2E", "2E", 2000000000000000000, kMax},
      {"-1", "-1", -1, -1000},
      {"-1500m", "-1500m", -1, -1500},
      {"1n", "1n", 1, 1},
      {"0.1n", "1n", 1, 1},  // finer than can be kept: rounded up
      {"0.5Ki", "512", 512, 512000},
      {"100Ei", "9223372036854775807", kMax, kMax},
      {"+5", "5", 5, 5000},
      {"99999999999999999999999999999999999999999", "9223372036854775807", kMax,
       kMax},
  };
  for (const Row& row : rows) {
    auto q = Quantity::Parse(row.text);
    ASSERT_TRUE(q.ok()) << row.text;
    EXPECT_EQ(q->ToString(), row.canonical) << row.text;
    EXPECT_EQ(q->value(), row.value) << row.text;
    EXPECT_EQ(q->milli(), row.milli) << row.text;
    auto again = Quantity::Parse(q->ToString());
    ASSERT_TRUE(again.ok()) << row.text;
    EXPECT_EQ(*again, *q) << row.text;
  }
}

TEST(Quantity, RefusesWhatIsNone) {
  for (const char* text : {"", "m", "1 ", " 1", "1x", "1mi", "1KI", "1.2.3",
                           "1e", "e3", "--1", "1e99999", "0x10", "-", "1i"}) {
    EXPECT_FALSE(Quantity::Parse(text).ok()) << text;
  }
  EXPECT_FALSE(Quantity::FromJson(nlohmann::json::array()).ok());
  EXPECT_EQ(Quantity::FromJson(2)->value(), 2);
  EXPECT_EQ(Quantity::FromJson(0.25)->milli(), 250);
}

TEST(Quantity, ComparesAndAdds) {
  auto q = [](const char* text) { return *Quantity::Parse(text); };
  EXPECT_EQ(q("1Gi"), q("1024Mi"));
  EXPECT_LT(q("1G"), q("1Gi"));
  EXPECT_LT(q("-1"), q("0"));
  Quantity sum;
  for (const char* text : {"100m", "200m", "0.7"}) sum += q(text);
  EXPECT_EQ(sum.ToString(), "1");
  sum -= q("2");
  EXPECT_EQ(sum.sign(), -1);
  EXPECT_EQ(Quantity::FromMilli(1500).ToString(), "1500m");
  EXPECT_EQ(Quantity::FromValue(3), q("3"));
}

TEST(IntOrPercent, Scales) {
  using nlohmann::json;
  EXPECT_EQ(*ScaleIntOrPercent(3, 10, Rounding::kDown), 3);
  EXPECT_EQ(*ScaleIntOrPercent("25%", 10, Rounding::kDown), 2);
  EXPECT_EQ(*ScaleIntOrPercent("25%", 10, Rounding::kUp), 3);
  EXPECT_EQ(*ScaleIntOrPercent("25%", 8, Rounding::kUp), 2);
  EXPECT_EQ(*ScaleIntOrPercent("0%", 8, Rounding::kUp), 0);
  EXPECT_EQ(*ScaleIntOrPercent("150%", 4, Rounding::kUp), 6);
  for (const json& bad : {json("25"), json("%"), json("-1%"), json("a%"),
                          json(), json(1.5), json(int64_t{1} << 40)}) {
    EXPECT_FALSE(ScaleIntOrPercent(bad, 10, Rounding::kUp).ok()) << bad;
  }
}

}  // namespace
}  // namespace fairlead::api
