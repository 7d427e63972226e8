// SPDX-License-Identifier: Apache-2.0
// Our rows against the cells that a stock server made of the same objects.
#include "absl/time/time.h"
#include "control/api/kinds.h"
#include "control/api/tables.h"
#include "control/api/usage_metrics.h"
#include "gtest/gtest.h"
#include "tests/unit/api_testdata.h"

namespace fairlead::api {
namespace {

using nlohmann::json;

TEST(Tables, EqualTheRecordedOnes) {
  json tables = ReadTestdata("tables.json");
  KindTable kinds = MakeKindTable();
  int rows = 0;
  for (const Kind& kind : kinds.kinds()) {
    // Shown as an answer only; absent from the recorded server.
    if (kind.review || IsUsageMetrics(kind)) continue;
    SCOPED_TRACE(kind.resource.plural);
    ASSERT_TRUE(tables.contains(kind.resource.plural));
    const json& table = tables[kind.resource.plural];
    json columns = json::array();
    for (const Column& column : kind.columns) {
      columns.push_back(
          {column.name, column.type, column.format, column.priority});
    }
    EXPECT_EQ(columns, table["columns"]);
    absl::Time now;
    std::string error;
    ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full,
                                table["now"].get<std::string>(), &now, &error));
    for (const json& row : table["rows"]) {
      EXPECT_EQ(json(kind.cells(row["object"], now)), row["cells"]);
      ++rows;
    }
  }
  EXPECT_GE(rows, 60);
}

TEST(Tables, Secret) {
  json secret = {{"metadata", {{"name", "s"}}},
                 {"type", "Opaque"},
                 {"data", {{"a", "YQ=="}, {"b", "Yg=="}}}};
  EXPECT_EQ(json(SecretPrinter().cells(secret, absl::Now())),
            json({"s", "Opaque", 2, "<unknown>"}));
}

TEST(HumanDuration, HasTheUnitsThatPeopleReadAtThatAge) {
  const struct {
    int64_t seconds;
    const char* text;
  } rows[] = {
      {-5, "<invalid>"},   {0, "0s"},          {119, "119s"},
      {120, "2m"},         {125, "2m5s"},      {599, "9m59s"},
      {600, "10m"},        {179 * 60, "179m"}, {180 * 60, "3h"},
      {200 * 60, "3h20m"}, {8 * 3600, "8h"},   {47 * 3600, "47h"},
      {48 * 3600, "2d"},   {50 * 3600, "2d2h"}, {8 * 86400, "8d"},
      {400LL * 86400, "400d"},                 {800LL * 86400, "2y70d"},
      {730LL * 86400, "2y"},                   {4000LL * 86400, "10y"},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(HumanDuration(absl::Seconds(row.seconds)), row.text);
  }
}

TEST(FormatSelector, PrintsSetTerms) {
  json selector = json::parse(R"({"matchLabels": {"b": "1"},
    "matchExpressions": [
      {"key": "a", "operator": "In", "values": ["y", "x"]},
      {"key": "c", "operator": "NotIn", "values": ["z"]},
      {"key": "d", "operator": "Exists"},
      {"key": "e", "operator": "DoesNotExist"}]})");
  EXPECT_EQ(FormatSelector(selector), "a in (x,y),b=1,c notin (z),d,!e");
  EXPECT_EQ(FormatSelector(json::object()), "<none>");
}

}  // namespace
}  // namespace fairlead::api
