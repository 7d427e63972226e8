// SPDX-License-Identifier: Apache-2.0
// Whom containers run as, and what they may.
#include "tests/netns/kubelet_fixture.h"

namespace fairlead {
namespace {

// The container's process and a command beside it (the probe) have the pod's
// user and groups, and the log is theirs to open by name.
TEST_F(KubeletTest, UserAndGroups) {
  StartKubelet();
  Json pod = Pod(
      "user",
      {"/bin/sh", "-c",
       "grep -E '^(Uid|Gid|Groups|NoNewPrivs):' /proc/self/status "
       "> /dev/stdout; echo HOME=$HOME; exec sleep 100"},
      {{"securityContext", {{"allowPrivilegeEscalation", false}}},
       {"readinessProbe",
        {{"exec",
          {{"command",
            {"/bin/sh", "-c",
             "test \"$(id -u) $(id -G)\" = '65534 65533 4000 4001'"}}}},
         {"periodSeconds", 1}}}});
  pod["spec"]["securityContext"] = {{"runAsUser", 65534},
                                    {"runAsGroup", 65533},
                                    {"supplementalGroups", {4000}},
                                    {"fsGroup", 4001},
                                    {"runAsNonRoot", true}};
  Create(pod);
  ASSERT_TRUE(AwaitReady("user")) << Get("user").dump(1);
  const std::string log = Logs();
  for (const char* line :
       {"Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1", "HOME=/\n",
        "Gid:\t65533\t65533\t65533\t65533", "Groups:\t4000 4001"}) {
    EXPECT_THAT(log, HasSubstr(line));
  }
}

TEST_F(KubeletTest, CapabilitiesAndReadOnlyRoot) {
  StartKubelet();
  Create(Pod("tight",
             {"/bin/sh", "-c",
              StrCat("grep ^Cap /proc/self/status; touch ", Path("x"),
                     "; echo > /dev/null && echo devices work; "
                     "exec sleep 100")},
             {{"securityContext",
               {{"readOnlyRootFilesystem", true},
                {"capabilities",
                 {{"drop", {"ALL"}}, {"add", {"NET_BIND_SERVICE"}}}}}},
              {"readinessProbe",
               {{"exec",
                 {{"command",
                   {"/bin/sh", "-c",
                    StrCat("! touch ", Path("y"),
                           " && grep -q 'CapEff:.*0000400' "
                           "/proc/self/status")}}}},
                {"periodSeconds", 1}}}}));
  ASSERT_TRUE(AwaitReady("tight")) << Get("tight").dump(1);
  const std::string log = Logs();
  for (const char* line :
       {"CapBnd:\t0000000000000400", "CapEff:\t0000000000000400",
        "CapInh:\t0000000000000000", "Read-only file system",
        "devices work"}) {
    EXPECT_THAT(log, HasSubstr(line));
  }
  Create(Pod("typo", {"/bin/sleep", "100"},
             {{"securityContext", {{"capabilities", {{"add", {"X"}}}}}}}));
  EXPECT_TRUE(Await("typo", [](const Json& p) {
    return IsWaiting(p, "CreateContainerError");
  }));
}

TEST_F(KubeletTest, RunAsNonRootHoldsARootContainerBack) {
  StartKubelet();
  Create(Pod("root", {"/bin/sleep", "100"},
             {{"securityContext", {{"runAsNonRoot", true}}}}));
  EXPECT_TRUE(Await("root", [](const Json& p) {
    return IsWaiting(p, "CreateContainerConfigError");
  }));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("root", "Failed",
                    "container has runAsNonRoot and image will run as root");
  }));
}

}  // namespace
}  // namespace fairlead
