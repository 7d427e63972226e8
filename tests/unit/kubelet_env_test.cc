// SPDX-License-Identifier: Apache-2.0
// Decoding a pod; its environment and command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "userspace/kubelet/env.h"
#include "userspace/kubelet/pod_spec.h"

namespace fairlead::kubelet {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

nlohmann::json Pod(const char* container) {
  auto pod = nlohmann::json::parse(R"({
    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1",
                 "labels": {"app": "web"}},
    "spec": {"nodeName": "node-1"}})");
  pod["spec"]["containers"] =
      nlohmann::json::array({nlohmann::json::parse(container)});
  return pod;
}

PodSpec Decode(const char* container) {
  auto spec = DecodePod(Pod(container));
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

struct ExpandCase {
  const char* text;
  const char* expanded;
};

class Expand : public ::testing::TestWithParam<ExpandCase> {};

TEST_P(Expand, FollowsKubernetes) {
  EXPECT_EQ(ExpandVariables(GetParam().text, {{"A", "1"}, {"B", "$(A)"}}),
            GetParam().expanded);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Expand,
    ::testing::Values(ExpandCase{"", ""}, ExpandCase{"x$(A)y", "x1y"},
                      ExpandCase{"$(A)$(A)", "11"},
                      ExpandCase{"$(B)", "$(A)"},  // not expanded again
                      ExpandCase{"$(NO)", "$(NO)"},
                      ExpandCase{"$$(A)", "$(A)"}, ExpandCase{"$", "$"},
                      ExpandCase{"$A", "$A"}, ExpandCase{"$(A", "$(A"},
                      ExpandCase{"$$$(A)", "$1"}));

class EnvTest : public ::testing::Test {
 protected:
  EnvContext Context() {
    EnvContext context;
    context.pod = &spec_;
    context.pod_ips = {*IpAddress::Parse("10.244.1.7"),
                       *IpAddress::Parse("fd00::7")};
    context.host_ips = {*IpAddress::Parse("192.0.2.11")};
    context.lookup = [](bool secret, const std::string& name)
        -> absl::StatusOr<std::map<std::string, std::string>> {
      if (name != "there") return absl::NotFoundError(name + " not found");
      return std::map<std::string, std::string>{
          {"key", secret ? "hidden" : "open"}};
    };
    return context;
  }
  absl::StatusOr<std::vector<std::string>> Env(const char* container) {
    spec_ = Decode(container);
    return BuildEnv(spec_.containers[0], Context());
  }
  PodSpec spec_;
};

TEST_F(EnvTest, FieldsAndEarlierVariables) {
  const auto env = Env(R"j({"name": "c", "env": [
    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "NS",
     "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
    {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    {"name": "APP", "valueFrom":
      {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    {"name": "URL", "value": "http://$(IP)/$(LATER)"},
    {"name": "LATER", "value": "x"}]})j");
  ASSERT_TRUE(env.ok()) << env.status();
  for (const char* line :
       {"POD=web-1", "NS=shop", "IP=10.244.1.7", "IPS=10.244.1.7,fd00::7",
        "HOST=192.0.2.11", "NODE=node-1", "APP=web",
        "URL=http://10.244.1.7/$(LATER)", "HOSTNAME=web-1"}) {
    EXPECT_THAT(*env, Contains(line));
  }
}

TEST_F(EnvTest, ConfigMapsAndSecrets) {
  const auto env = Env(R"({"name": "c",
    "envFrom": [{"prefix": "P_", "configMapRef": {"name": "there"}},
                {"secretRef": {"name": "gone", "optional": true}}],
    "env": [
    {"name": "S", "valueFrom": {"secretKeyRef":
      {"name": "there", "key": "key"}}},
    {"name": "O", "valueFrom": {"configMapKeyRef":
      {"name": "there", "key": "no", "optional": true}}}]})");
  ASSERT_TRUE(env.ok()) << env.status();
  EXPECT_THAT(*env, Contains("P_key=open"));
  EXPECT_THAT(*env, Contains("S=hidden"));
  EXPECT_THAT(*env, Not(Contains(HasSubstr("O="))));
}

TEST_F(EnvTest, MissingKeyAndObjectAreErrors) {
  const auto key = Env(R"({"name": "c", "env": [{"name": "X", "valueFrom":
    {"configMapKeyRef": {"name": "there", "key": "no"}}}]})");
  EXPECT_EQ(key.status().message(),
            "couldn't find key no in ConfigMap shop/there");
  const auto object = Env(R"({"name": "c", "env": [{"name": "X", "valueFrom":
    {"secretKeyRef": {"name": "gone", "key": "key"}}}]})");
  EXPECT_TRUE(absl::IsNotFound(object.status()));
}

TEST_F(EnvTest, CommandLine) {
  spec_ = Decode(R"j({"name": "c", "command": ["run", "$(A)"],
                      "args": ["--x=$(A)", "$(B)"]})j");
  const auto args = BuildArgs(spec_.containers[0], {"A=1"});
  ASSERT_TRUE(args.ok());
  EXPECT_THAT(*args, ElementsAre("run", "1", "--x=1", "$(B)"));
  EXPECT_FALSE(BuildArgs(Decode(R"({"name": "c"})").containers[0], {}).ok());
}

TEST(DecodePodTest, Probes) {
  const PodSpec spec = Decode(R"({"name": "c",
    "ports": [{"name": "http", "containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "healthz", "port": "http",
      "httpHeaders": [{"name": "X", "value": "y"}]}, "periodSeconds": 2},
    "livenessProbe": {"tcpSocket": {"port": 7}, "failureThreshold": 1},
    "startupProbe": {"exec": {"command": ["true"]}}})");
  const ContainerSpec& c = spec.containers[0];
  EXPECT_EQ(c.readiness->action.port, 8080);
  EXPECT_EQ(c.readiness->action.path, "/healthz");
  EXPECT_EQ(c.readiness->period, absl::Seconds(2));
  EXPECT_EQ(c.readiness->failure_threshold, 3);
  EXPECT_EQ(c.liveness->action.type, Action::Type::kTcpSocket);
  EXPECT_EQ(c.startup->action.command, std::vector<std::string>{"true"});
}

TEST(DecodePodTest, NamesThatWouldLeaveTheirDirectoryAreRefused) {
  auto pod = Pod(R"({"name": "../../etc"})");
  EXPECT_FALSE(DecodePod(pod).ok());
  pod = Pod(R"({"name": "c"})");
  pod["metadata"]["uid"] = "../x";
  EXPECT_FALSE(DecodePod(pod).ok());
  EXPECT_FALSE(DecodePod(nlohmann::json::array()).ok());
}

TEST(SecurityContextTest, TheContainersFieldsWin) {
  auto pod = Pod(R"({"name": "c", "securityContext": {
    "runAsUser": 7, "allowPrivilegeEscalation": false}})");
  pod["spec"]["securityContext"] = {{"runAsUser", 5},
                                    {"runAsGroup", 6},
                                    {"runAsNonRoot", true},
                                    {"supplementalGroups", {40, 41}},
                                    {"fsGroup", 42}};
  const auto spec = DecodePod(pod);
  ASSERT_TRUE(spec.ok());
  const SecurityContext& context = spec->containers[0].security;
  EXPECT_EQ(context.user, 7);
  EXPECT_EQ(context.group, 6);
  EXPECT_THAT(context.extra_groups, ElementsAre(40, 41, 42));
  EXPECT_TRUE(context.non_root);
  EXPECT_TRUE(context.no_new_privs);
  EXPECT_TRUE(CheckSecurityContext(context, "p", "c").ok());
  EXPECT_FALSE(Decode(R"({"name": "c"})").containers[0].security
                   .ChangesIdentity());
}

uint64_t Capabilities(const char* context) {
  const auto json = nlohmann::json::parse(context);
  return DecodeSecurityContext(nullptr, json).capabilities;
}

TEST(SecurityContextTest, Capabilities) {
  EXPECT_EQ(Capabilities("{}"), 0xa80425fbu) << "what runtimes give";
  EXPECT_EQ(Capabilities(R"({"privileged": true})"), 0x1ffffffffffu);
  EXPECT_EQ(Capabilities(R"({"capabilities": {
    "add": ["NET_BIND_SERVICE", "cap_bpf"], "drop": ["ALL"]}})"),
            1u << 10 | uint64_t{1} << 39);
  EXPECT_EQ(Capabilities(R"({"capabilities": {
    "add": ["ALL"], "drop": ["CHOWN"]}})"),
            0x1fffffffffeu);
  const auto odd = nlohmann::json::parse(
      R"({"capabilities": {"add": ["NET_AMDIN"]}})");
  EXPECT_EQ(CheckSecurityContext(DecodeSecurityContext(nullptr, odd), "p", "c"),
            absl::FailedPreconditionError("unknown capability \"NET_AMDIN\""));
}

TEST(SecurityContextTest, WhatMayNotRun) {
  SecurityContext context{.non_root = true};
  EXPECT_EQ(CheckSecurityContext(context, "web_shop(u)", "c").message(),
            "container has runAsNonRoot and image will run as root (pod: "
            "\"web_shop(u)\", container: c)");
  context.user = 0;
  EXPECT_EQ(CheckSecurityContext(context, "web_shop(u)", "c").message(),
            "container's runAsUser breaks non-root policy (pod: "
            "\"web_shop(u)\", container: c)");
  for (const int64_t id : {int64_t{-1}, int64_t{1} << 31}) {
    context.user = id;
    EXPECT_THAT(CheckSecurityContext(context, "p", "c").message(),
                HasSubstr("is no user or group id"));
  }
}

TEST(DecodePodTest, HostImage) {
  EXPECT_TRUE(IsHostImage("host"));
  EXPECT_TRUE(IsHostImage("host:v2"));
  EXPECT_FALSE(IsHostImage("hosts"));
  EXPECT_FALSE(IsHostImage("nginx:1.25"));
}

}  // namespace
}  // namespace fairlead::kubelet
