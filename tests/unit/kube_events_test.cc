// SPDX-License-Identifier: Apache-2.0
// Events as they are written: by both names, repeats as one, and what a server
// without events.k8s.io gets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/played_transport.h"
#include "userspace/kube/events.h"

namespace fairlead::kube {
namespace {

using ::testing::MatchesRegex;
using ::testing::StartsWith;

class EventsTest : public ::testing::Test {
 protected:
  EventsTest() : transport_(&loop_), client_(&transport_, "test") {}

  // Tells about one Service twice, the second time after the first answer.
  void TellTwice(EventApi api, std::deque<Answer> answers) {
    transport_.answers = std::move(answers);
    EventRecorder recorder(&loop_, &client_, "fairlead-agent", "node-1", api);
    for (int i = 0; i < 2; ++i) {
      recorder.Record({{"kind", "Service"}, {"namespace", "d"},
                       {"name", "web"}, {"uid", "u"}},
                      EventType::kWarning, "Taken", "port 31000", "Listen");
      Settle();
    }
  }
  void Settle() {
    for (int i = 0; i < 8; ++i) {
      loop_.Post([this] { loop_.Stop(); });
      loop_.Run();
    }
  }
  Json Body(size_t i) { return Json::parse(transport_.requests.at(i).body); }

  EventLoop loop_;
  PlayedTransport transport_;
  Client client_;
};

constexpr char kMicroTime[] =
    "[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+[.][0-9][0-9][0-9][0-9][0-9]"
    "[0-9]Z";

TEST_F(EventsTest, AnEventAndItsSeries) {
  TellTwice(EventApi::kEvents, {{.status = 201, .body = "{}"}, {.body = "{}"}});
  ASSERT_EQ(transport_.requests.size(), 2u);
  EXPECT_EQ(transport_.requests[0].target,
            "/apis/events.k8s.io/v1/namespaces/d/events");
  Json event = Body(0);
  const std::string name = event["metadata"]["name"];
  EXPECT_THAT(name, StartsWith("web."));
  EXPECT_THAT(event["eventTime"].get<std::string>(), MatchesRegex(kMicroTime));
  event.erase("eventTime");
  event["metadata"].erase("name");
  EXPECT_EQ(event, Json::parse(R"({"apiVersion":"events.k8s.io/v1",
      "kind":"Event","metadata":{"namespace":"d"},
      "regarding":{"kind":"Service","namespace":"d","name":"web","uid":"u"},
      "note":"port 31000","action":"Listen","reason":"Taken","type":"Warning",
      "reportingController":"fairlead-agent","reportingInstance":"node-1"})"));
  EXPECT_EQ(transport_.requests[1].method, "PATCH");
  EXPECT_EQ(transport_.requests[1].target,
            "/apis/events.k8s.io/v1/namespaces/d/events/" + name);
  Json series = Body(1)["series"];
  EXPECT_EQ(series["count"], 2);
  EXPECT_THAT(series["lastObservedTime"].get<std::string>(),
              MatchesRegex(kMicroTime));
}

TEST_F(EventsTest, AServerWithoutTheGroupGetsCoreEvents) {
  TellTwice(EventApi::kEvents, {{.status = 404, .body = "404 page not found"},
                                {.status = 201, .body = "{}"},
                                {.body = "{}"}});
  ASSERT_EQ(transport_.requests.size(), 3u);
  EXPECT_EQ(transport_.requests[1].target, "/api/v1/namespaces/d/events");
  EXPECT_EQ(Body(1)["apiVersion"], "v1");
  EXPECT_EQ(Body(1)["involvedObject"]["name"], "web");
  EXPECT_EQ(Body(1)["message"], "port 31000");
  EXPECT_EQ(transport_.requests[2].method, "PATCH");
  EXPECT_THAT(transport_.requests[2].target,
              StartsWith("/api/v1/namespaces/d/events/web."));
  EXPECT_EQ(Body(2)["count"], 2);
}

TEST_F(EventsTest, ARefusedEventIsDroppedAndTheNextOneIsNew) {
  TellTwice(EventApi::kEvents, {{.status = 403}, {.status = 201, .body = "{}"}});
  ASSERT_EQ(transport_.requests.size(), 2u);
  EXPECT_EQ(transport_.requests[1].method, "POST");
  EXPECT_EQ(Body(1)["apiVersion"], "events.k8s.io/v1");
}

// ---- bursts ----

struct SetClock final : Clock {
  absl::Time Now() const override { return now; }
  absl::Duration Monotonic() const override { return Real().Monotonic(); }
  absl::Time now = Real().Now();
};

// Figures of client-go: 25 at once for each object, then one in five minutes.
TEST_F(EventsTest, ABurstAboutOneObjectIsOneEventAndFewRequests) {
  SetClock clock;
  transport_.answers.assign(60, Answer{.body = "{}"});
  EventRecorder recorder(&loop_, &client_, "fairlead-agent", "node-1",
                         EventApi::kEvents, clock);
  auto tell = [&](const char* name, int times) {
    for (int i = 0; i < times; ++i) {
      recorder.Record({{"kind", "Service"}, {"namespace", "d"},
                       {"name", name}, {"uid", name}},
                      EventType::kWarning, "Taken", "port 31000", "Listen");
      if (i % 10 == 0) Settle();
    }
    Settle();
  };
  tell("web", 1000);
  ASSERT_EQ(transport_.requests.size(), 25u);
  EXPECT_EQ(transport_.requests[0].method, "POST");
  const std::string name = Body(0)["metadata"]["name"];
  for (size_t i = 1; i < 25; ++i) {
    EXPECT_EQ(transport_.requests[i].method, "PATCH");
    EXPECT_EQ(transport_.requests[i].target,
              "/apis/events.k8s.io/v1/namespaces/d/events/" + name);
    EXPECT_EQ(Body(i)["series"]["count"], i + 1);
  }
  // Nobody else is held up by it.
  tell("other", 1);
  ASSERT_EQ(transport_.requests.size(), 26u);
  EXPECT_EQ(transport_.requests[25].method, "POST");
  clock.now += absl::Minutes(5);
  tell("web", 1000);
  ASSERT_EQ(transport_.requests.size(), 27u);
  EXPECT_EQ(Body(26)["series"]["count"], 26);
}

// Different words about one object count together, and each is an event.
TEST_F(EventsTest, ABurstOfDifferentWordsIsLimitedToo) {
  SetClock clock;
  transport_.answers.assign(60, Answer{.status = 201, .body = "{}"});
  EventRecorder recorder(&loop_, &client_, "fairlead-agent", "node-1",
                         EventApi::kEvents, clock);
  for (int i = 0; i < 1000; ++i) {
    recorder.Record({{"kind", "Service"}, {"namespace", "d"},
                     {"name", "web"}, {"uid", "u"}},
                    EventType::kWarning, "Bad", std::to_string(i), "Sync");
    if (i % 10 == 0) Settle();
  }
  Settle();
  ASSERT_EQ(transport_.requests.size(), 25u);
  for (const Request& request : transport_.requests) {
    EXPECT_EQ(request.method, "POST");
  }
}

// A thousand bad objects at once: the API gets a few hundred at a time, and the
// agent's memory stays what it is.
TEST_F(EventsTest, ABurstAboutManyObjectsIsBounded) {
  SetClock clock;
  transport_.answers.assign(300, Answer{.status = 201, .body = "{}"});
  EventRecorder recorder(&loop_, &client_, "fairlead-agent", "node-1",
                         EventApi::kEvents, clock);
  auto tell = [&](const std::string& name) {
    recorder.Record({{"kind", "Service"}, {"namespace", "d"},
                     {"name", name}, {"uid", name}},
                    EventType::kWarning, "Bad", "no port", "Sync");
  };
  for (int i = 0; i < 1000; ++i) tell("web-" + std::to_string(i));
  EXPECT_EQ(transport_.requests.size(), 256u);
  for (int i = 0; i < 40; ++i) Settle();
  // What was under way is answered: there is room again.
  tell("late");
  EXPECT_EQ(transport_.requests.size(), 257u);
}

}  // namespace
}  // namespace fairlead::kube
