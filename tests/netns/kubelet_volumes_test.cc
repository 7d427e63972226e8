// SPDX-License-Identifier: Apache-2.0
// Volumes, as the containers see them.
#include <sys/stat.h>

#include "tests/netns/kubelet_fixture.h"

namespace fairlead {
namespace {

using ::testing::Not;

class KubeletVolumesTest : public KubeletTest {
 protected:
  // Of the shell script's exit status.
  static Json Probe(const std::string& script) {
    return {{"exec", {{"command", {"/bin/sh", "-exc", script}}}},
            {"periodSeconds", 1},
            {"timeoutSeconds", 10},
            {"failureThreshold", 1}};
  }
  // A pod that sleeps and is ready when `script` succeeds inside it.
  Json PodWith(const std::string& name, const Json& volumes,
               const Json& mounts, const std::string& script) const {
    Json pod = Pod(name, {"/bin/sleep", "1000"},
                   {{"volumeMounts", mounts},
                    {"readinessProbe", Probe(script)}});
    pod["spec"]["volumes"] = volumes;
    pod["spec"]["terminationGracePeriodSeconds"] = 0;
    return pod;
  }
  Json MountAt(const std::string& volume, const std::string& below,
               const Json& extra = Json::object()) const {
    Json mount = {{"name", volume}, {"mountPath", Path(below)}};
    mount.update(extra);
    return mount;
  }
  void Object(const std::string& plural, const std::string& name,
              const Json& data) {
    Api("POST", StrCat("/api/v1/namespaces/default/", plural),
        {{"metadata", {{"name", name}}}, {"data", data}});
  }
};

TEST_F(KubeletVolumesTest, ConfigMapsAndSecretsAreFilesThatFollowTheApi) {
  StartKubelet();
  Object("configmaps", "settings", {{"color", "blue"}, {"size", "9"}});
  Object("secrets", "keys", {{"door", "c2VzYW1l"}});
  Json pod = PodWith(
      "web",
      {{{"name", "all"}, {"configMap", {{"name", "settings"}}}},
       {{"name", "one"},
        {"configMap",
         {{"name", "settings"},
          {"items",
           {{{"key", "size"}, {"path", "deep/er"}, {"mode", 0400}}}}}}},
       {{"name", "keys"},
        {"secret", {{"secretName", "keys"}, {"defaultMode", 0440}}}}},
      {MountAt("all", "all"), MountAt("one", "one"), MountAt("keys", "keys")},
      StrCat("cd ", dir_->path(),
             "; test $(cat all/color) = green; test $(cat all/size) = 9"
             "; test $(ls one) = deep; test $(stat -Lc %a one/deep/er) = 440"
             "; test $(cat keys/door) = sesame; ! touch all/x"
             "; test $(stat -fc %T keys) = tmpfs"
             "; test $(stat -Lc %a:%g keys/door) = 440:4001"));
  pod["spec"]["securityContext"] = {{"fsGroup", 4001}};
  Create(pod);
  ASSERT_TRUE(AwaitReady("web", false)) << "the color is another";
  // Not a remount: the same container sees the new files.
  Api("PATCH", "/api/v1/namespaces/default/configmaps/settings",
      {{"data", {{"color", "green"}}}});
  EXPECT_TRUE(AwaitReady("web")) << Get("web").dump(1);
  EXPECT_EQ(Container(Get("web"))["restartCount"], 0);
  EXPECT_FALSE(fs::exists(Path("all/color"))) << "the node has no such file";
}

TEST_F(KubeletVolumesTest, WhatIsMissingIsWaitedFor) {
  StartKubelet();
  Object("secrets", "keys", Json::object());
  Create(PodWith(
      "wait",
      {{{"name", "cfg"}, {"configMap", {{"name", "later"}}}},
       {{"name", "key"},
        {"secret",
         {{"secretName", "keys"},
          {"items", {{{"key", "door"}, {"path", "door"}}}}}}},
       {{"name", "opt"},
        {"configMap", {{"name", "never"}, {"optional", true}}}}},
      {MountAt("cfg", "cfg"), MountAt("opt", "opt")},
      StrCat("test $(cat ", Path("cfg/a"), ") = 1; test -d ", Path("opt"))));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("wait", "FailedMount",
                    "MountVolume.SetUp failed for volume \"cfg\" : configmap "
                    "\"later\" not found") &&
           HasEvent("wait", "FailedMount",
                    "MountVolume.SetUp failed for volume \"key\" : references "
                    "non-existent secret key: door");
  }));
  EXPECT_TRUE(IsWaiting(Get("wait"), "ContainerCreating"));
  Object("configmaps", "later", {{"a", "1"}});
  Api("PATCH", "/api/v1/namespaces/default/secrets/keys",
      {{"data", {{"door", "eA=="}}}});
  EXPECT_TRUE(AwaitReady("wait")) << Get("wait").dump(1);
}

TEST_F(KubeletVolumesTest, TokensAreFetchedAndRenewed) {
  StartKubelet();
  // The pod's user has to get to its mount point.
  fs::permissions(dir_->path(), fs::perms{0755});
  Json pod = PodWith(
      "web",
      Json::array({{{"name", "api"},
        {"projected",
         {{"sources",
           {{{"serviceAccountToken",
              {{"path", "token"},
               {"audience", "vault"},
               {"expirationSeconds", 600}}}},
            {{"downwardAPI",
              {{"items",
                {{{"path", "ns"},
                  {"fieldRef", {{"fieldPath", "metadata.namespace"}}}},
                 {{"path", "labels"},
                  {"fieldRef", {{"fieldPath", "metadata.labels"}}}},
                 {{"path", "cpu"},
                  {"resourceFieldRef",
                   {{"containerName", "c"},
                    {"resource", "limits.cpu"},
                    {"divisor", "1m"}}}}}}}}}}}}}}}),
      Json::array({MountAt("api", "api")}),
      StrCat("cd ", Path("api"),
             "; test $(cat ns) = default; test $(cat labels) = app='\"a\"'"
             "; test $(cat cpu) = 250; grep '^robot web .*vault' token"
             "; test $(stat -Lc %a:%u token) = 600:65534"));
  pod["metadata"]["labels"] = {{"app", "a"}};
  // It says each token that it sees.
  pod["spec"]["containers"][0]["command"] = {
      "/bin/sh", "-c",
      StrCat("while :; do now=$(cat ", Path("api"), "/token); "
             "test \"$now\" = \"$last\" || echo \"$now\"; last=$now; "
             "sleep 0.1; done")};
  pod["spec"]["serviceAccountName"] = "robot";
  pod["spec"]["securityContext"] = {{"runAsUser", 65534}};
  pod["spec"]["containers"][0]["resources"] = {
      {"limits", {{"cpu", "250m"}}}};
  Create(pod);
  ASSERT_TRUE(AwaitReady("web")) << Get("web").dump(1);
  const auto token = [&] {
    for (const auto& entry : fs::directory_iterator(Path("root/pods"))) {
      const std::string path =
          entry.path().string() + "/_volumes/api/token";
      if (fs::exists(path)) return ReadText(path);
    }
    return std::string();
  };
  const std::string first = token();
  ASSERT_THAT(first, HasSubstr("robot"));
  EXPECT_TRUE(Eventually([&] { return !token().empty() && token() != first; }));
  // So does the pod, which was told of the first one.
  const auto heard = [&](const std::string& text) {
    return !text.empty() && Logs().find(text) != std::string::npos;
  };
  EXPECT_TRUE(heard(first)) << Logs();
  std::string second;
  EXPECT_TRUE(Eventually([&] {
    if (const std::string now = token(); now != first) second = now;
    return heard(second);
  })) << Logs();
}

TEST_F(KubeletVolumesTest, EmptyDirsLiveAsLongAsThePod) {
  StartKubelet();
  Json pod = PodWith(
      "web",
      {{{"name", "ram"},
        {"emptyDir", {{"medium", "Memory"}, {"sizeLimit", "64Ki"}}}},
       {{"name", "disk"}, {"emptyDir", Json::object()}}},
      {MountAt("ram", "ram"), MountAt("disk", "disk")},
      StrCat("cd ", dir_->path(),
             "; test $(stat -fc %T ram) = tmpfs; test $(stat -c %a:%g disk) "
             "= 2777:4001; cat ram/from-init ram/mine"));
  pod["spec"]["securityContext"] = {{"fsGroup", 4001}};
  pod["spec"]["initContainers"] = {
      {{"name", "init"},
       {"image", "host"},
       {"command",
        {"/bin/sh", "-c",
         StrCat("echo a > ", Path("ram/from-init"), "; head -c 100000 "
                "/dev/zero > ", Path("ram/big"), " && exit 3; rm ",
                Path("ram/big"), "; echo b > ", Path("disk/x"))}},
       {"volumeMounts", {MountAt("ram", "ram"), MountAt("disk", "disk")}}}};
  pod["spec"]["containers"][0]["command"] = {
      "/bin/sh", "-c",
      StrCat("echo run >> ", Path("ram/mine"), "; exec sleep 1000")};
  Create(pod);
  ASSERT_TRUE(AwaitReady("web")) << Get("web").dump(1);
  // A new kubelet and then a new container: what was written is still there.
  Stop(&kubelet_, SIGKILL);
  StartKubelet();
  for (const int pid : Pids(Get("web"))) kill(pid, SIGKILL);
  EXPECT_TRUE(Await("web", [](const Json& p) {
    return Container(p).value("restartCount", 0) == 1 &&
           Condition(p, "Ready") == "True";
  }));
  std::string ram;
  for (const auto& entry : fs::directory_iterator(Path("root/pods")))
    ram = entry.path().string() + "/_volumes/ram";
  EXPECT_EQ(ReadText(ram + "/mine"), "run\nrun\n");
  Delete("web", 0);
  EXPECT_TRUE(Eventually([&] { return PodDirs() == 0; }));
  EXPECT_THAT(ReadText("/proc/self/mountinfo"), Not(HasSubstr(ram)));
}

TEST_F(KubeletVolumesTest, HostPathsAndSubPaths) {
  StartKubelet();
  fs::create_directories(Path("host/in"));
  std::ofstream(Path("host/in/file")) << "seen\n";
  fs::create_symlink("/etc", Path("host/out"));
  const Json volumes = Json::array(
      {{{"name", "host"},
        {"hostPath", {{"path", Path("host")}, {"type", "Directory"}}}}});
  Json good = PodWith(
      "good", volumes,
      {MountAt("host", "a", {{"subPath", "in"}, {"readOnly", true}}),
       MountAt("host", "b", {{"subPathExpr", "new/$(WHO)"}}),
       MountAt("host", "f", {{"subPath", "in/file"}})},
      StrCat("cd ", dir_->path(),
             "; test $(cat a/file) = seen; ! touch a/x; touch b/mine; "
             "test $(cat f) = seen; test -f host/new/good/mine"));
  good["spec"]["containers"][0]["env"] = {
      {{"name", "WHO"},
       {"valueFrom", {{"fieldRef", {{"fieldPath", "metadata.name"}}}}}}};
  Create(good);
  Create(PodWith("out", volumes,
                 Json::array({MountAt("host", "c", {{"subPath", "out/ssl"}})}),
                 "true"));
  Create(PodWith("typed",
                 Json::array({{{"name", "v"},
                   {"hostPath",
                    {{"path", Path("host")}, {"type", "File"}}}}}),
                 Json::array({MountAt("v", "d")}), "true"));
  EXPECT_TRUE(AwaitReady("good")) << Get("good").dump(1);
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("typed", "FailedMount",
                    StrCat("MountVolume.SetUp failed for volume \"v\" : "
                           "hostPath type check failed: ", Path("host"),
                           " is not a file"));
  }));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("out", "Failed", "subPath out/ssl");
  })) << "a link leads out of the volume";
}

}  // namespace
}  // namespace fairlead
