// SPDX-License-Identifier: Apache-2.0
// What is read of cgroups and files, and the forms that it is told in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/harness/scopes.h"
#include "userspace/kubelet/runtime/cgroup.h"
#include "userspace/kubelet/runtime/termination_message.h"
#include "userspace/kubelet/stats/summary.h"

namespace fairlead::kubelet {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using Json = nlohmann::json;

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() : dir_(*harness::TempDirScope::Create()) {}
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  harness::TempDirScope dir_;
};

TEST_F(FilesTest, UsageWithAMemoryController) {
  Write("cpu.stat", "usage_usec 1500000\nuser_usec 1\n");
  Write("memory.current", "9000\n");
  Write("memory.stat", "anon 5000\nfile 4000\ninactive_file 3000\n");
  const auto usage = ReadCgroupUsage(dir_.path());
  ASSERT_TRUE(usage.ok());
  EXPECT_EQ(usage->cpu, absl::Milliseconds(1500));
  EXPECT_EQ(usage->working_set, 6000);
  EXPECT_FALSE(ReadCgroupUsage(dir_.path() + "/none").ok());
}

TEST_F(FilesTest, UsageWithoutAMemoryControllerIsTheProcesses) {
  Write("cpu.stat", "usage_usec 1\n");
  Write("cgroup.procs", std::to_string(getpid()) + "\n999999999\n");
  const auto usage = ReadCgroupUsage(dir_.path());
  ASSERT_TRUE(usage.ok());
  EXPECT_GT(usage->working_set, 100'000);
}

TEST_F(FilesTest, OutOfMemory) {
  EXPECT_EQ(OomKills(dir_.path()), 0);
  Write("memory.events", "low 0\nhigh 3\nmax 9\noom 4\noom_kill 2\n");
  EXPECT_EQ(OomKills(dir_.path()), 2);
}

TEST_F(FilesTest, TerminationMessagesHaveLimits) {
  const std::string own = Write("own", std::string(5000, 'x'));
  EXPECT_EQ(TerminationMessage(own, "", true).size(), 4096u);
  const std::string none = Write("none", "");
  std::string log;
  for (int i = 0; i < 200; ++i)
    log += "2024-01-02T03:04:05.000000000Z stdout F line " +
           std::to_string(i) + "\n";
  const std::string path = Write("0.log", log);
  EXPECT_EQ(TerminationMessage(none, path, false), "");
  const std::string tail = TerminationMessage(none, path, true);
  EXPECT_THAT(tail, testing::StartsWith("line 120\n"));
  EXPECT_THAT(tail, EndsWith("line 199\n"));
}

NodeStats Sample() {
  NodeStats stats{.name = "n", .sample = {}, .pods = {}};
  stats.sample.at = absl::FromUnixSeconds(1'700'000'000);
  stats.sample.usage = {absl::Seconds(90), 1 << 30, 1 << 29};
  PodStats pod{.ns = "shop", .name = "web", .uid = "u", .started = {},
               .containers = {}};
  for (const char* name : {"a", "b"}) {
    ContainerStats c{.name = name, .sample = stats.sample};
    c.sample.usage = {absl::Milliseconds(1250), 4096, 0};
    c.sample.cores = 0.5;
    pod.containers.push_back(c);
  }
  stats.pods.push_back(pod);
  return stats;
}

TEST(SummaryTest, Json) {
  const Json json = FormatSummary(Sample());
  EXPECT_EQ(json["node"]["memory"]["availableBytes"], 1 << 29);
  EXPECT_FALSE(json["node"]["cpu"].contains("usageNanoCores"))
      << "not known yet";
  const Json& pod = json["pods"][0];
  EXPECT_EQ(pod["podRef"]["namespace"], "shop");
  EXPECT_EQ(pod["containers"][1]["cpu"]["usageNanoCores"], 500'000'000);
  EXPECT_EQ(pod["cpu"]["usageNanoCores"], 1'000'000'000);
  EXPECT_EQ(pod["memory"]["workingSetBytes"], 8192);
  EXPECT_EQ(pod["cpu"]["time"], "2023-11-14T22:13:20Z");
}

TEST(SummaryTest, Prometheus) {
  const std::string text = FormatResourceMetrics(Sample());
  EXPECT_THAT(text,
              HasSubstr("# TYPE container_cpu_usage_seconds_total counter\n"
                        "container_cpu_usage_seconds_total{container=\"a\","
                        "namespace=\"shop\",pod=\"web\"} 1.25 1700000000000"));
  EXPECT_THAT(text, HasSubstr("\npod_memory_working_set_bytes{namespace="
                              "\"shop\",pod=\"web\"} 8192 1700000000000\n"));
  EXPECT_THAT(text, HasSubstr("\nnode_cpu_usage_seconds_total 90 17"));
  EXPECT_THAT(text, EndsWith("\nresource_scrape_error 0\n"));
}

}  // namespace
}  // namespace fairlead::kubelet
