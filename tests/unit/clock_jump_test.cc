// SPDX-License-Identifier: Apache-2.0
// The wall clock jumps by a day, either way: what is measured in this process
// doesn't notice, what is compared with time stamps waits no longer than it
// may, and tokens are what they say they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/kinds.h"
#include "control/controllers/cleanup.h"
#include "control/controllers/job.h"
#include "control/controllers/node_lifecycle.h"
#include "control/controllers/rollout.h"
#include "tests/unit/api_fixture.h"
#include "userspace/kube/control_resources.h"
#include "userspace/pki/authority.h"

namespace fairlead {
namespace {

using Json = nlohmann::json;
using controllers::Plan;
using controllers::Timestamp;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kDay = absl::Hours(24);

kube::Object Share(Json json) {
  return std::make_shared<const Json>(std::move(json));
}

TEST(ClockJump, ANodeThatWasHeardIsThere) {
  const Json node = {
      {"metadata", {{"name", "n"}, {"uid", "u"}}},
      {"spec", Json::object()},
      {"status",
       {{"conditions",
         Json::array({{{"type", "Ready"},
                       {"status", "True"},
                       {"lastHeartbeatTime", Timestamp(kNow)}}})}}}};
  for (absl::Duration jump : {-kDay, absl::ZeroDuration(), kDay}) {
    Plan plan = controllers::PlanNodeLifecycle(
        {.node = Share(node), .silent_for = absl::Seconds(5)}, {}, kNow + jump);
    EXPECT_TRUE(plan.writes.empty()) << jump;
  }
  EXPECT_FALSE(controllers::PlanNodeLifecycle(
                   {.node = Share(node), .silent_for = absl::Seconds(41)}, {},
                   kNow - kDay)
                   .writes.empty());
}

TEST(ClockJump, AJobWaitsNoLongerThanItsBackOff) {
  const Json job = {
      {"metadata", {{"name", "j"}, {"namespace", "default"}, {"uid", "u"}}},
      {"spec",
       {{"parallelism", 1},
        {"completions", 1},
        {"template", {{"spec", {{"restartPolicy", "Never"}}}}}}},
      {"status", {{"startTime", Timestamp(kNow)}}}};
  const Json failed = {
      {"metadata",
       {{"name", "p"},
        {"namespace", "default"},
        {"uid", "p"},
        {"finalizers", Json::array({"batch.kubernetes.io/job-tracking"})},
        {"ownerReferences",
         Json::array(
             {{{"kind", "Job"}, {"uid", "u"}, {"controller", true}}})}}},
      {"status",
       {{"phase", "Failed"},
        {"containerStatuses",
         Json::array({{{"name", "c"},
                       {"state",
                        {{"terminated",
                          {{"finishedAt", Timestamp(kNow)}}}}}}})}}}};
  auto plan_at = [&](absl::Duration jump) {
    return controllers::PlanJob({.job = Share(job), .pods = {Share(failed)}},
                                kNow + jump);
  };
  EXPECT_EQ(plan_at(absl::Seconds(1)).again, absl::Seconds(9));
  EXPECT_EQ(plan_at(-kDay).again, absl::Seconds(10));
  auto makes_pod = [](const Plan& plan) {
    return std::any_of(plan.writes.begin(), plan.writes.end(),
                       [](const controllers::Write& w) {
                         return w.verb == controllers::Verb::kCreate;
                       });
  };
  EXPECT_FALSE(makes_pod(plan_at(-kDay)));
  EXPECT_TRUE(makes_pod(plan_at(kDay)));
}

TEST(ClockJump, ARolloutIsLookedAtAgainWithinItsDeadline) {
  const Json deployment = {
      {"metadata", {{"name", "d"}, {"namespace", "default"}, {"uid", "u"}}},
      {"status",
       {{"conditions",
         Json::array({{{"type", "Progressing"},
                       {"status", "True"},
                       {"reason", "ReplicaSetUpdated"},
                       {"lastUpdateTime", Timestamp(kNow)}}})}}}};
  controllers::StatusFacts facts{.deployment = &deployment};
  facts.spec.replicas = 1;
  facts.spec.progress_deadline = absl::Minutes(10);
  facts.current = Share({{"metadata", {{"name", "rs"}, {"uid", "r"}}},
                         {"spec", {{"replicas", 1}}}});
  auto reason = [&](absl::Duration jump, absl::Duration* again) {
    const Json status =
        controllers::DeploymentStatus(facts, kNow + jump, again);
    for (const Json& c : status["conditions"]) {
      if (c["type"] == "Progressing") return c["reason"].get<std::string>();
    }
    return std::string();
  };
  absl::Duration again = absl::InfiniteDuration();
  EXPECT_EQ(reason(-kDay, &again), "ReplicaSetUpdated");
  EXPECT_EQ(again, absl::Minutes(10) + absl::Seconds(1));
  // Late is all that it says; the next pod that gets ready takes it back.
  EXPECT_EQ(reason(kDay, &again), "ProgressDeadlineExceeded");
}

TEST(ClockJump, EventsOutliveAJumpBackAndNotOneOfADay) {
  const Json events = {
      {"items",
       Json::array({{{"metadata",
                      {{"name", "e"},
                       {"namespace", "default"},
                       {"creationTimestamp", Timestamp(kNow)}}},
                     {"lastTimestamp", Timestamp(kNow)}}})}};
  EXPECT_TRUE(
      controllers::PlanEventCleanup(events, {}, kNow - kDay).writes.empty());
  EXPECT_FALSE(
      controllers::PlanEventCleanup(events, {}, kNow + kDay).writes.empty());
}

// What is measured goes on.
class JumpingClock final : public Clock {
 public:
  absl::Time Now() const override { return now_; }
  absl::Duration Monotonic() const override { return Real().Monotonic(); }
  void Jump(absl::Duration by) { now_ += by; }

 private:
  absl::Time now_ = Real().Now();
};

class ClockJumpServerTest : public api::ApiServerTest {
 protected:
  ClockJumpServerTest() {
    auto authority =
        pki::Authority::Open(folder_.path() + "/pki", jumping_.Now());
    EXPECT_TRUE(authority.ok()) << authority.status();
    server_.reset();
    kinds_ = api::MakeKindTable();
    api::ServerOptions options;
    options.token_key = authority->token_key();
    server_ = std::make_unique<api::ApiServer>(
        loop_.get(), store_.get(), &kinds_, admissions_, options, jumping_);
    EXPECT_TRUE(server_->Load().ok());
    RunUntil([&] { return Do("GET", "/readyz").status == 200; });
  }
  ~ClockJumpServerTest() override { Stop(); }
  std::string Token() {
    const std::string accounts = "/api/v1/namespaces/default/serviceaccounts";
    Do("POST", accounts, R"({"metadata":{"name":"robot"}})", kJson);
    api::Answer answer = Do("POST", accounts + "/robot/token", "{}", kJson);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return answer.json()["status"]["token"];
  }
  int StatusWith(const std::string& token) {
    return Do("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
              "{}", {{"Content-Type", "application/json"},
                     {"Authorization", "Bearer " + token}})
        .status;
  }
  const kube::Headers kJson = {{"Content-Type", "application/json"}};
  JumpingClock jumping_;
};

TEST_F(ClockJumpServerTest, TokensHoldFromWhenToWhenTheySay) {
  const std::string token = Token();
  EXPECT_EQ(StatusWith(token), 201);
  jumping_.Jump(kDay);
  EXPECT_EQ(StatusWith(token), 401) << "expired";
  EXPECT_EQ(StatusWith(Token()), 201);
  jumping_.Jump(-2 * kDay);
  EXPECT_EQ(StatusWith(token), 401) << "not yet";
  EXPECT_EQ(StatusWith(Token()), 201);
  jumping_.Jump(kDay);
  EXPECT_EQ(StatusWith(token), 201);
}

TEST_F(ClockJumpServerTest, WatchesEndByWhatHasPassed) {
  std::string text;
  std::optional<absl::Status> end;
  auto watch = [&](const std::string& query) {
    return server_->transport()->Stream(
        {"GET", "/api/v1/namespaces/default/configmaps?watch=true&" + query,
         {}, ""},
        {[](const kube::Response&) {},
         [&](std::string_view chunk) { text += chunk; },
         [&](absl::Status status) { end = std::move(status); }});
  };
  auto call = watch("timeoutSeconds=600");
  for (absl::Duration jump : {kDay, -2 * kDay}) {
    jumping_.Jump(jump);
    text.clear();
    api::Answer made =
        Do("POST", "/api/v1/namespaces/default/configmaps",
           R"({"metadata":{"generateName":"c-"}})", kJson);
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_TRUE(RunUntil([&] { return text.find("ADDED") != text.npos; }));
    EXPECT_FALSE(end.has_value()) << jump;
  }
  call.reset();
  call = watch("timeoutSeconds=1");
  jumping_.Jump(-kDay);
  EXPECT_TRUE(RunUntil([&] { return end.has_value(); }));
}

}  // namespace
}  // namespace fairlead
