// SPDX-License-Identifier: Apache-2.0
// Layouts as text, and records of one layout as another's.
#include "userspace/datapath/record_layout.h"

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fairlead::datapath {
namespace {

using ::testing::HasSubstr;

RecordLayout Record(uint32_t size,
                    std::map<std::string, RecordLayout::Place> scalars) {
  return {.scalars = std::move(scalars), .size = size};
}

TEST(RecordConversion, FindsMembersByName) {
  const RecordLayout from =
      Record(16, {{"a", {0, 4}}, {"gone", {4, 4}}, {"b[0]", {8, 2}},
                  {"b[1]", {10, 2}}, {"wide", {12, 4}}});
  const RecordLayout to =
      Record(24, {{"new", {0, 8}}, {"b[0]", {8, 2}}, {"b[1]", {10, 2}},
                  {"a", {12, 4}}, {"wide", {16, 8}}});
  const struct {
    uint32_t a, gone;
    uint16_t b[2];
    uint32_t wide;
  } record = {1, 2, {3, 4}, 0xfedcba98};
  struct {
    uint64_t added;
    uint16_t b[2];
    uint32_t a;
    uint64_t wide;
  } got;
  memset(&got, 0xff, sizeof got);
  static_assert(sizeof record == 16 && sizeof got == 24);
  RecordConversion(from, to).Convert(&record, &got);
  EXPECT_EQ(got.added, 0u);
  EXPECT_EQ(got.b[0], 3);
  EXPECT_EQ(got.b[1], 4);
  EXPECT_EQ(got.a, 1u);
  EXPECT_EQ(got.wide, 0xfedcba98u);
}

TEST(RecordConversion, NarrowsIntegers) {
  const RecordLayout from = Record(8, {{".", {0, 8}}});
  const RecordLayout to = Record(1, {{".", {0, 1}}});
  const uint64_t value = 0x1234;
  uint8_t got = 0;
  RecordConversion(from, to).Convert(&value, &got);
  EXPECT_EQ(got, 0x34);
}

TEST(Layouts, AreTheSameAfterText) {
  MapLayouts layouts;
  layouts["fl_a"] = {Record(4, {{".", {0, 4}}}),
                     Record(16, {{"x.y[1]", {8, 8}}, {"z", {0, 2}}})};
  layouts["fl_b"] = {};
  const std::string text = ToText(layouts);
  auto again = ParseLayouts(text);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToText(*again), text);
  EXPECT_EQ((*again)["fl_a"].value.scalars["x.y[1]"].offset, 8u);
  EXPECT_EQ((*again)["fl_b"].key.size, 0u);
}

TEST(Layouts, RefuseWhatWouldReadBeyondARecord) {
  for (const char* text : {
           "a 0 4\n",                        // of no record
           "m key 8\na 5 4\n",               // ends outside
           "m key 8\na 4294967295 4\n",      // overflows
           "m key 8\na 0 3\n",               // no scalar
           "m key 8\na 0\n",                 // cut off
           "m key 99999999\n",               // larger than any
           "m key -1\n", "m other 8\n",
       }) {
    auto parsed = ParseLayouts(text);
    EXPECT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()),
                HasSubstr("not a line of a layout"))
        << text;
  }
}

}  // namespace
}  // namespace fairlead::datapath
