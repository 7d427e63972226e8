// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/yaml.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"

namespace fairlead::kube {
namespace {

using nlohmann::json;

json One(std::string_view text) {
  auto documents = JsonFromYaml(text);
  if (!documents.ok()) return documents.status().ToString();
  return documents->size() == 1 ? (*documents)[0] : json("not one document");
}

TEST(YamlTest, ReadsScalarsAsYaml11Does) {
  struct Row {
    const char* yaml;
    json value;
  };
  for (const Row& row : std::vector<Row>{{"v: 80", 80},
                                         {"v: -7", -7},
                                         {"v: \"80\"", "80"},
                                         {"v: '80'", "80"},
                                         {"v: 017", 15},
                                         {"v: 0o17", 15},
                                         {"v: 0x1F", 31},
                                         {"v: 1.5", 1.5},
                                         {"v: 1e3", 1000.0},
                                         {"v: true", true},
                                         {"v: y", true},
                                         {"v: Off", false},
                                         {"v: oN", "oN"},
                                         {"v: ~", nullptr},
                                         {"v:", nullptr},
                                         {"v: \"\"", ""},
                                         {"v: 1.2.3.4", "1.2.3.4"},
                                         {"v: 100m", "100m"},
                                         {"v: e", "e"},
                                         {"v: 25%", "25%"},
                                         {"v: 2026-01-02", "2026-01-02"},
                                         {"v: |\n  a\n  b\n", "a\nb\n"},
                                         {"v: [1, a]", json({1, "a"})}}) {
    EXPECT_EQ(One(row.yaml), (json{{"v", row.value}})) << row.yaml;
  }
}

TEST(YamlTest, SplitsAStreamAndSkipsEmptyDocuments) {
  auto documents = JsonFromYaml("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n");
  ASSERT_TRUE(documents.ok());
  ASSERT_EQ(documents->size(), 2u);
  EXPECT_EQ((*documents)[1], (json{{"b", 2}}));
}

TEST(YamlTest, ReadsJson) {
  EXPECT_EQ(One(R"({"a": [1, {"b": null}], "c": "x"})"),
            json::parse(R"({"a": [1, {"b": null}], "c": "x"})"));
}

TEST(YamlTest, NamesTheLineOfAnError) {
  auto documents = JsonFromYaml("a: 1\nb: [1, 2\nc: 3\n");
  ASSERT_FALSE(documents.ok());
  EXPECT_NE(documents.status().message().find("line"), std::string::npos)
      << documents.status();
}

// The library never comes to the end of these.
TEST(YamlTest, EndsWithWhatCantBeginADocument) {
  for (const char* text : {",", "a: 1\n---\n, b", "--- ,"}) {
    auto documents = JsonFromYaml(text);
    ASSERT_FALSE(documents.ok()) << text;
    EXPECT_TRUE(absl::StartsWith(documents.status().message(), "yaml: line"))
        << documents.status();
  }
}

TEST(YamlTest, RefusesWhatIsNoUtf8) {
  for (const char* text : {"a: \xff", "a: \"\xc3(\"", "\xed\xa0\x80: 1"}) {
    auto documents = JsonFromYaml(text);
    ASSERT_FALSE(documents.ok()) << text;
    EXPECT_EQ(documents.status().message(),
              "yaml: invalid leading UTF-8 octet");
  }
  EXPECT_EQ(One("a: \xc3\xa4")["a"], "\xc3\xa4");
  EXPECT_EQ(One("\"k\\N\": \"\xc3\xa4\\N\\_z\"")["k\xc2\x85"],
            "\xc3\xa4\xc2\x85\xc2\xa0z");
  // The library takes these for UTF-32 and UTF-16.
  for (const std::string& text : {std::string("a\0\0\0: `0\n", 9),
                                  std::string("a\0:\0 \0b\0", 8)}) {
    auto documents = JsonFromYaml(text);
    ASSERT_FALSE(documents.ok()) << text;
    EXPECT_EQ(documents.status().message(),
              "yaml: control characters are not allowed");
  }
}

TEST(YamlTest, RefusesBombsAndDepth) {
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i)
      bomb += std::string("*") + static_cast<char>(c - 1) + ",";
    bomb += "]\n";
  }
  EXPECT_FALSE(JsonFromYaml(bomb).ok());
  EXPECT_FALSE(
      JsonFromYaml(std::string(300, '[') + std::string(300, ']')).ok());
}

}  // namespace
}  // namespace fairlead::kube
