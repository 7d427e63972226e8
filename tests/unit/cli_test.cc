// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <stdlib.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/time/clock.h"
#include "userspace/cli/apply.h"
#include "userspace/cli/box.h"
#include "userspace/cli/completion.h"
#include "userspace/cli/output.h"
#include "userspace/cli/process.h"

namespace fairlead::cli {
namespace {

using nlohmann::json;

TEST(MergePatchTest, TouchesOnlyWhatTheUserOwns) {
  struct Row {
    const char* what;
    json last, wanted, live, patch;
  };
  const std::vector<Row> rows = {
      {"nothing changed", {{"a", 1}}, {{"a", 1}}, {{"a", 1}, {"s", 2}},
       json::object()},
      {"a value changed", {{"a", 1}}, {{"a", 2}}, {{"a", 1}}, {{"a", 2}}},
      {"a field was added", {{"a", 1}}, {{"a", 1}, {"b", 1}}, {{"a", 1}},
       {{"b", 1}}},
      {"a field was removed", {{"a", 1}, {"b", 1}}, {{"a", 1}},
       {{"a", 1}, {"b", 1}}, {{"b", nullptr}}},
      {"removed by both", {{"a", 1}, {"b", 1}}, {{"a", 1}}, {{"a", 1}},
       json::object()},
      {"somebody else's field stays", {{"a", 1}}, {{"a", 1}},
       {{"a", 1}, {"theirs", 9}}, json::object()},
      {"drift is mended", {{"a", 1}}, {{"a", 1}}, {{"a", 5}}, {{"a", 1}}},
      {"inner objects are merged", {{"o", {{"x", 1}, {"y", 1}}}},
       {{"o", {{"x", 2}}}}, {{"o", {{"x", 1}, {"y", 1}, {"z", 1}}}},
       {{"o", {{"x", 2}, {"y", nullptr}}}}},
      {"defaults inside an unchanged list stay", {{"l", json::array({1})}},
       {{"l", json::array({1})}}, {{"l", json::array({1, 2})}},
       json::object()},
      {"a changed list is replaced", {{"l", json::array({1})}},
       {{"l", json::array({3})}}, {{"l", json::array({1})}},
       {{"l", json::array({3})}}},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(ThreeWayMergePatch(row.last, row.wanted, row.live), row.patch)
        << row.what;
  }
}

TEST(TextTableTest, AlignsColumnsAndMarksEmptyCells) {
  TextTable table({"NAME", "PORT", "WHY"});
  table.AddRow({"web", "80", "ok"});
  table.AddRow({"a-long-name", "", "x"});
  EXPECT_EQ(table.ToString(),
            "NAME         PORT  WHY\n"
            "web          80    ok\n"
            "a-long-name  -     x\n");
}

TEST(ShortDurationTest, ReadsAsKubectlPrintsAges) {
  for (auto [seconds, text] : std::vector<std::pair<int64_t, std::string>>{
           {-5, "0s"}, {6, "6s"}, {119, "119s"}, {120, "2m"}, {445, "7m25s"},
           {3600, "60m"}, {3 * 3600, "3h"}, {7 * 3600 + 60, "7h1m"},
           {47 * 3600, "47h"}, {49 * 3600, "2d1h"}, {30 * 86400, "30d"}}) {
    EXPECT_EQ(ShortDuration(seconds), text) << seconds;
  }
}

TEST(BoxTest, RefusesNamesThatCanMeet) {
  for (const char* name : {"", "a-b", "UPPER", "this-is-too-long", "a/b"}) {
    EXPECT_FALSE(ValidateBox({.name = name}).ok()) << name;
  }
  EXPECT_TRUE(ValidateBox({.name = "box1"}).ok());
  EXPECT_FALSE(ValidateBox({.nodes = 0}).ok());
  EXPECT_FALSE(ValidateBox({.nodes = kMaxNodes + 1}).ok());
}

TEST(BoxTest, IsFoundAgainAsItWasSaved) {
  char folder[] = "/tmp/fairlead-box-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  Box box{.name = "t", .root = folder, .nodes = 3, .api_port = 4711};
  EXPECT_TRUE(absl::IsNotFound(LoadBox(folder, "t").status()));
  ASSERT_TRUE(SaveBox(box).ok());
  auto loaded = LoadBox(folder, "t");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->nodes, 3);
  EXPECT_EQ(loaded->api_port, 4711);
  EXPECT_EQ(ListBoxes(folder), std::vector<std::string>{"t"});
  std::ofstream(box.Dir() + "/state.json") << "{";
  EXPECT_TRUE(absl::IsDataLoss(LoadBox(folder, "t").status()));
  std::filesystem::remove_all(folder);
}

TEST(ProcessTest, ADaemonIsFoundAndEnded) {
  char log[] = "/tmp/fairlead-log-XXXXXX";
  close(mkstemp(log));
  auto process = Spawn({.argv = {"/bin/sh", "-c", "echo started; sleep 60"},
                        .log_file = log});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_TRUE(process->IsAlive());
  // Another process with the same pid is another process.
  EXPECT_FALSE((ProcessIdentity{process->pid, process->start_ticks + 1})
                   .IsAlive());
  std::string text;
  for (int i = 0; i < 500 && text.empty(); ++i) {
    std::ifstream(log) >> text;
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(text, "started");
  EXPECT_TRUE(Terminate(*process, absl::Seconds(5)).ok());
  EXPECT_FALSE(process->IsAlive());
  unlink(log);
}

TEST(ProcessTest, AMissingProgramIsAnError) {
  auto process = Spawn({.argv = {"/no/such/program"}, .log_file = "/dev/null"});
  EXPECT_TRUE(absl::IsNotFound(process.status())) << process.status();
}

TEST(CompletionTest, KnowsSubcommandsAndFlags) {
  CLI::App app{"x"};
  CLI::App* cluster = app.add_subcommand("cluster", "");
  int nodes = 0;
  cluster->add_subcommand("up", "")->add_option("--nodes", nodes, "");
  for (const char* shell : {"bash", "zsh"}) {
    auto script = CompletionScript(app, shell);
    ASSERT_TRUE(script.ok());
    EXPECT_NE(script->find("\" cluster up\") next=\"--help --nodes\""),
              std::string::npos)
        << *script;
  }
  EXPECT_TRUE(CompletionScript(app, "fish").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(
      CompletionScript(app, "cmd").status()));
}

}  // namespace
}  // namespace fairlead::cli
