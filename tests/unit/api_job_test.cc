// SPDX-License-Identifier: Apache-2.0
// Which combinations of a Job's fields are refused, and in which words; and
// what is said about fields that do nothing.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/api/defaults.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

struct JobRow {
  const char* spec;   // merged into one that is fine
  const char* error;  // "" if it still is
};
void PrintTo(const JobRow& row, std::ostream* os) { *os << row.spec; }

class JobValidationTest : public testing::TestWithParam<JobRow> {};

TEST_P(JobValidationTest, SaysWhatIsWrong) {
  Json job = {{"metadata", {{"namespace", "default"}, {"name", "j"}}},
              {"spec",
               {{"selector", {{"matchLabels", {{"app", "x"}}}}},
                {"template",
                 {{"metadata", {{"labels", {{"app", "x"}}}}},
                  {"spec",
                   {{"restartPolicy", "Never"},
                    {"containers",
                     Json::array({{{"name", "c"}, {"image", "i"}}})}}}}}}}};
  job["spec"].merge_patch(Json::parse(GetParam().spec));
  DefaultJob(job);
  std::string said;
  for (const FieldError& error : ValidateJob(job, nullptr)) {
    StrAppend(&said, error.field, ": ", error.message, "\n");
  }
  if (*GetParam().error == '\0') {
    EXPECT_EQ(said, "");
  } else {
    EXPECT_EQ(said, StrCat(GetParam().error, "\n"));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, JobValidationTest,
    testing::Values(
        JobRow{"{}", ""},
        JobRow{R"({"completionMode": "Indexed", "completions": 3,
                   "backoffLimitPerIndex": 1, "maxFailedIndexes": 2,
                   "successPolicy": {"rules": [{"succeededCount": 1}]},
                   "podFailurePolicy": {"rules": [
                     {"action": "FailIndex",
                      "onExitCodes": {"operator": "In", "values": [1]}},
                     {"action": "Ignore", "onPodConditions": [
                      {"type": "DisruptionTarget", "status": "True"}]}]}})",
               ""},
        JobRow{R"({"maxFailedIndexes": 2, "completionMode": "Indexed",
                   "completions": 3})",
               "spec.backoffLimitPerIndex: Required value: when "
               "maxFailedIndexes is specified"},
        JobRow{R"({"backoffLimitPerIndex": 1})",
               "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed "
               "completion mode"},
        JobRow{R"({"podFailurePolicy": {"rules": [{"action": "FailIndex",
                   "onExitCodes": {"operator": "In", "values": [1]}}]}})",
               "spec.podFailurePolicy.rules[0].action: Invalid value: "
               "\"FailIndex\": requires the backoffLimitPerIndex to be set"},
        JobRow{R"({"podFailurePolicy": {"rules": [{"action": "Retry",
                   "onExitCodes": {"operator": "In", "values": [1]}}]}})",
               "spec.podFailurePolicy.rules[0].action: Unsupported value: "
               "\"Retry\": supported values: \"Count\", \"FailIndex\", "
               "\"FailJob\", \"Ignore\""},
        JobRow{R"({"podFailurePolicy": {"rules": []},
                   "template": {"spec": {"restartPolicy": "OnFailure"}}})",
               "spec.template.spec.restartPolicy: Invalid value: "
               "\"OnFailure\": only \"Never\" is supported when "
               "podFailurePolicy is specified"},
        JobRow{R"({"podFailurePolicy": {"rules": []},
                   "podReplacementPolicy": "TerminatingOrFailed"})",
               "spec.podReplacementPolicy: Unsupported value: "
               "\"TerminatingOrFailed\": supported values: \"Failed\""}));

TEST(PodSpecWarningsTest, WhatTheSchedulerDoesNotActOn) {
  Json spec = Json::parse(R"({
    "affinity": {"nodeAffinity": {"x": 1}, "podAffinity": {},
                 "podAntiAffinity": {"x": 1}},
    "topologySpreadConstraints": [{"maxSkew": 1}]})");
  std::vector<std::string> said = PodSpecWarnings(spec, "spec");
  ASSERT_EQ(said.size(), 2u);
  EXPECT_TRUE(said[0].starts_with("spec.affinity.podAntiAffinity: "))
      << said[0];
  EXPECT_TRUE(said[1].starts_with("spec.topologySpreadConstraints: "))
      << said[1];
}

}  // namespace
}  // namespace fairlead::api
