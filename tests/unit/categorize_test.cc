// SPDX-License-Identifier: Apache-2.0
// Which endpoints are used: the rows of category_rows.h.
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "tests/unit/category_rows.h"
#include "userspace/base/strings.h"
#include "userspace/model/categorize.h"
#include "userspace/model/compile.h"

namespace fairlead::model {
namespace {

using Row = CategoryRow;

std::vector<EndpointTraits> Traits(const Row& row) {
  const std::vector<std::string> place =
      absl::StrSplit(row.node, ' ');
  NodeConfig node;
  if (place[0] != "-") node.name = place[0];
  if (place[1] != "-") node.zone = place[1];
  Places places(node);
  std::vector<EndpointTraits> out;
  for (absl::string_view word :
       absl::StrSplit(row.endpoints, ' ', absl::SkipEmpty())) {
    SliceEndpoint e;
    std::vector<std::string> parts = absl::StrSplit(word, '/');
    const char kind = parts[0][0];
    e.ready = kind == 'R';
    e.serving = kind != 'u';
    e.terminating = kind == 'T';
    const bool local = parts[0].size() > 1;
    for (size_t i = 1; i < parts.size(); ++i) {
      const std::vector<std::string> names =
          absl::StrSplit(parts[i].substr(2), ',');
      if (parts[i][0] == 'z') e.zone_hints = places.zone_hints.Intern(names);
      if (parts[i][0] == 'n') e.node_hints = places.node_hints.Intern(names);
    }
    if (local) e.node = places.nodes.Intern({node.name});
    out.push_back(TraitsOf(e, places));
  }
  return out;
}

std::string Numbers(const std::vector<bool>& set) {
  std::string out;
  for (size_t i = 0; i < set.size(); ++i) {
    if (set[i]) StrAppend(&out, out.empty() ? "" : " ", i + 1);
  }
  return out.empty() ? "-" : out;
}

class CategorizeTest : public ::testing::TestWithParam<Row> {};

TEST_P(CategorizeTest, Row) {
  const Row& row = GetParam();
  const std::string letters = row.policy;
  const TrafficPolicy policy{
      .internal_local = letters.find('i') != std::string::npos,
      .external_local = letters.find('e') != std::string::npos,
      .externally_accessible = letters.find('x') != std::string::npos};
  const Categories got = Categorize(Traits(row), policy);
  EXPECT_EQ(Numbers(got.cluster), row.cluster);
  EXPECT_EQ(Numbers(got.local), row.local);
  EXPECT_EQ(got.cluster_empty, std::string(row.cluster) == "-");
  EXPECT_EQ(got.local_empty, std::string(row.local) == "-");
  EXPECT_EQ(got.any_usable, row.any);
}

INSTANTIATE_TEST_SUITE_P(
    All, CategorizeTest, ::testing::ValuesIn(kCategoryRows), [](const auto& info) {
      std::string name;
      for (char c : std::string(info.param.name)) {
        if (std::isalnum(static_cast<unsigned char>(c))) name += c;
      }
      return name;
    });

}  // namespace
}  // namespace fairlead::model
