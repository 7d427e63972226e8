// SPDX-License-Identifier: Apache-2.0
#include "control/api/selector.h"

#include <gtest/gtest.h>

namespace fairlead::api {
namespace {

struct MatchRow {
  const char* selector;
  Labels labels;
  bool matches;
};

TEST(LabelSelectorTest, Matches) {
  const Labels web = {{"app", "web"}, {"n", "7"}, {"tier", "a"}};
  for (const MatchRow& row : std::vector<MatchRow>{
           {"", web, true},
           {"app=web", web, true},
           {"app==web", web, true},
           {"app!=web", web, false},
           {"none!=web", web, true},
           {"app", web, true},
           {"!app", web, false},
           {"! none", web, true},
           {"app in (db, web)", web, true},
           {"app in (db)", web, false},
           {"tier notin (a,b)", web, false},
           {"none notin (a)", web, true},
           {"n>5", web, true},
           {"n>7", web, false},
           {"n<8,app=web", web, true},
           {"app=web,tier=b", web, false},
           {"app=", {{"app", ""}}, true},
           {"app=", web, false},
           {"app in (,x)", {{"app", ""}}, true},
           {"k8s.io/role=x", {{"k8s.io/role", "x"}}, true},
       }) {
    auto selector = LabelSelector::Parse(row.selector);
    ASSERT_TRUE(selector.ok()) << row.selector << ": " << selector.status();
    EXPECT_EQ(selector->Matches(row.labels), row.matches) << row.selector;
  }
}

// The texts are a real server's.
TEST(LabelSelectorTest, ErrorsAreInTheServersWords) {
  const std::pair<const char*, const char*> rows[] = {
      {"a in x", "unable to parse requirement: found 'x' expected: '('"},
      {"a===b",
       "unable to parse requirement: found '=', expected: identifier"},
      {"bad key=1",
       "unable to parse requirement: found 'key', expected: in, notin, =, ==, "
       "!=, gt, lt"},
      {"!!", "unable to parse requirement: found '!', expected: identifier"},
  };
  for (const auto& [text, message] : rows) {
    auto selector = LabelSelector::Parse(text);
    ASSERT_FALSE(selector.ok()) << text;
    EXPECT_EQ(selector.status().message(), message);
  }
  for (const char* bad : {"a in (b", "a=b=c", "a,,b", "a=b,", "-x=1", "a=b!",
                          "a>x", "(a)", "a in b,c)"}) {
    EXPECT_FALSE(LabelSelector::Parse(bad).ok()) << bad;
  }
}

TEST(FieldSelectorTest, Terms) {
  auto selector = FieldSelector::Parse(
      "metadata.name=x,status.phase!=Running,spec.a==b\\,c");
  ASSERT_TRUE(selector.ok());
  ASSERT_EQ(selector->terms().size(), 3u);
  EXPECT_EQ(selector->terms()[0].field, "metadata.name");
  EXPECT_TRUE(selector->terms()[0].equal);
  EXPECT_EQ(selector->terms()[1].field, "status.phase");
  EXPECT_FALSE(selector->terms()[1].equal);
  EXPECT_EQ(selector->terms()[2].value, "b,c");
  EXPECT_EQ(FieldSelector::Parse("garbage").status().message(),
            "invalid selector: 'garbage'; can't understand 'garbage'");
}

}  // namespace
}  // namespace fairlead::api
