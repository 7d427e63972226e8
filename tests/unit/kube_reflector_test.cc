// SPDX-License-Identifier: Apache-2.0
// The reflector, informer, client and work queue over a transport that plays
// recorded answers: pages, events, resuming, 410 in both forms, silence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/match.h"
#include "tests/unit/played_transport.h"
#include "userspace/base/strings.h"
#include "userspace/kube/client.h"
#include "userspace/kube/informer.h"
#include "userspace/kube/managed_fields.h"
#include "userspace/kube/work_queue.h"

namespace fairlead::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string TestFile(const std::string& name) {
  std::ifstream file(std::string(FAIRLEAD_SOURCE_DIR) +
                     "/tests/unit/testdata/kube/" + name);
  EXPECT_TRUE(file) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Event(const std::string& type, const std::string& name,
                  int version) {
  return StrCat(R"({"type":")", type,
                R"(","object":{"kind":"Service","metadata":{"name":")", name,
                R"(","namespace":"d","uid":"u-)", name,
                R"(","resourceVersion":")", version, "\"}}}\n");
}

std::string List(int version, const std::vector<std::string>& names,
                 const std::string& token = "") {
  std::string body =
      StrCat(R"({"kind":"ServiceList","metadata":{"resourceVersion":")",
             version, R"(","continue":")", token, R"("},"items":[)");
  for (const std::string& name : names) {
    if (body.back() != '[') body += ",";
    StrAppend(&body, R"({"metadata":{"name":")", name,
              R"(","namespace":"d","uid":"u-)", name,
              R"(","resourceVersion":")", version, "\"}}");
  }
  return body + "]}";
}

constexpr char kExpired[] = R"json({"type":"ERROR","object":{"kind":"Status",
"apiVersion":"v1","metadata":{},"status":"Failure","message":
"too old resource version: 1 (35285)","reason":"Expired","code":410}})json";

class ReflectorTest : public ::testing::Test {
 protected:
  ReflectorTest() : transport_(&loop_) {
    options_.resource = Services();
    options_.min_backoff = absl::Milliseconds(1);
    options_.max_backoff = absl::Milliseconds(5);
    options_.page_size = 7;
  }

  // Runs until the answers are used up and what was played is delivered.
  void Play(std::deque<Answer> answers) {
    transport_.answers = std::move(answers);
    transport_.on_exhausted = [this] { loop_.Post([this] { loop_.Stop(); }); };
    Timer guard = loop_.After(absl::Seconds(10), [this] {
      ADD_FAILURE() << "the answers were not asked for";
      loop_.Stop();
    });
    if (informer_ == nullptr) {
      informer_ =
          std::make_unique<Informer>(&loop_, &transport_, options_);
      informer_->Subscribe([this](const Object& before, const Object& after) {
        changes_.push_back(StrCat(before == nullptr  ? "+"
                                  : after == nullptr ? "-"
                                                     : "~",
                                  KeyOf(after ? *after : *before)));
        if (on_change_) on_change_(before, after);
      });
      informer_->OnSynced([this] { ++synced_; });
      informer_->Start();
    }
    loop_.Run();
  }

  std::vector<std::string> Names() {
    std::vector<std::string> names;
    informer_->ForEach([&](const Object& o) { names.push_back(KeyOf(*o)); });
    return names;
  }

  std::string Target(size_t i) { return transport_.requests.at(i).target; }

  EventLoop loop_;
  PlayedTransport transport_;
  ReflectorOptions options_;
  std::unique_ptr<Informer> informer_;
  std::vector<std::string> changes_;
  Informer::OnChange on_change_;
  int synced_ = 0;
};

TEST_F(ReflectorTest, RecordedPagesAndWatchCutAnywhere) {
  for (size_t piece : {1, 13, 1000, 1 << 20}) {
    informer_.reset();
    transport_.requests.clear();
    changes_.clear();
    Play({{.body = TestFile("services_page1.json")},
          {.body = TestFile("services_page2.json")},
          {.body = TestFile("services_page3.json")},
          {.body = TestFile("services_watch.jsonl"), .piece = piece}});
    // The recorded script deletes what it created.
    EXPECT_EQ(informer_->size(), 21u);
    EXPECT_EQ(changes_.size(), 21u + 18u);
    EXPECT_EQ(Target(0), "/api/v1/services?limit=7");
    EXPECT_THAT(Target(1), HasSubstr("limit=7&continue=eyJ2Ijoi"));
    EXPECT_THAT(Target(3), HasSubstr("watch=true&allowWatchBookmarks=true"
                                     "&resourceVersion=2889&"));
    // The clean end of a watch: on from the last bookmark, without a list.
    EXPECT_THAT(Target(4), HasSubstr("watch=true"));
    EXPECT_THAT(Target(4), Not(HasSubstr("resourceVersion=2889")));
  }
  EXPECT_EQ(synced_, 4);
}

// More than stay parsed: each can be read, and a change has what was before.
TEST_F(ReflectorTest, ManyAreKeptAsText) {
  constexpr int kMany = 3000;
  std::vector<std::string> names;
  for (int i = 0; i < kMany; ++i) names.push_back(StrCat("n", i));
  Object before, after;
  on_change_ = [&](const Object& was, const Object& is) {
    if (was == nullptr || is == nullptr) return;
    before = was;
    after = is;
  };
  Play({{.body = List(5, names)},
        {.body = Event("MODIFIED", "n0", 6) + Event("DELETED", "n1", 7)}});
  ASSERT_TRUE(before != nullptr && after != nullptr);
  EXPECT_EQ((*before)["metadata"]["resourceVersion"], "5");
  EXPECT_EQ((*after)["metadata"]["resourceVersion"], "6");
  EXPECT_EQ(Names().size(), size_t{kMany - 1});
  EXPECT_EQ(informer_->Get("d/n1"), nullptr);
  for (int i = 2; i < kMany; ++i) {
    Object object = informer_->Get(StrCat("d/n", i));
    ASSERT_NE(object, nullptr) << i;
    EXPECT_EQ((*object)["kind"], "Service");
    EXPECT_EQ((*object)["metadata"]["uid"], StrCat("u-n", i));
    EXPECT_EQ(informer_->Get(StrCat("d/n", i)), object);
  }
}

TEST(WithoutManagedFieldsTest, CutsThoseOfTheMetadataAndNothingElse) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {R"({"metadata":{"managedFields":[{"a":"]}\\"}],"name":"x"},"s":-1})",
       R"({"metadata":{"name":"x"},"s":-1})"},
      {R"({"s":[1,{}],"metadata":{"name":"x","managedFields":[]}})",
       R"({"s":[1,{}],"metadata":{"name":"x"}})"},
      {R"({"metadata":{"managedFields":null}})", R"({"metadata":{}})"},
      {R"({ "metadata" : { "a" : 1 , "managedFields" : [ 2 ] } })",
       R"({ "metadata" : { "a" : 1  } })"},
      {R"({"spec":{"managedFields":[1],"metadata":{"managedFields":[]}}})", ""},
      {R"({"metadata":{"a":"\"managedFields\":[1]","n":"\\"},"b":true})", ""},
      {R"(["metadata",{"managedFields":[]}])", ""},
      {"", ""}};
  for (const auto& [text, cut] : rows) {
    EXPECT_EQ(WithoutManagedFields(text), cut.empty() ? text : cut);
    // Half an object isn't made whole.
    for (size_t n = 0; n < text.size(); ++n) {
      const std::string half = text.substr(0, n);
      EXPECT_FALSE(Json::accept(WithoutManagedFields(half))) << half;
    }
  }
}

TEST_F(ReflectorTest, ResumesFromTheLastBookmark) {
  Play({{.body = List(5, {"a"})},
        {.body = Event("ADDED", "b", 6) + Event("BOOKMARK", "", 90)},
        {.no_server = true},
        {.status = 500},
        {.body = Event("DELETED", "a", 91)}});
  EXPECT_THAT(changes_, ElementsAre("+d/a", "+d/b", "-d/a"));
  for (int i : {2, 3, 4}) {
    EXPECT_THAT(Target(i), HasSubstr("resourceVersion=90&"));
  }
}

TEST_F(ReflectorTest, GoneAsAnEventListsAgain) {
  Play({{.body = List(5, {"a", "b"})},
        {.body = kExpired},
        {.body = List(9, {"b", "c"})}});
  EXPECT_THAT(Names(), ElementsAre("d/b", "d/c"));
  EXPECT_THAT(changes_, ElementsAre("+d/a", "+d/b", "~d/b", "+d/c", "-d/a"));
  EXPECT_THAT(Target(3), HasSubstr("resourceVersion=9&"));
  EXPECT_EQ(synced_, 1);
}

TEST_F(ReflectorTest, GoneAsHttpStatusListsAgain) {
  Play({{.body = List(5, {"a"})},
        {.status = 410, .body = R"({"kind":"Status","code":410})"},
        {.body = List(9, {})}});
  EXPECT_THAT(Names(), ElementsAre());
}

TEST_F(ReflectorTest, AContinueTokenThatExpiredListsWhole) {
  Play({{.body = List(5, {"a"}, "t")},
        {.status = 410, .body = R"({"kind":"Status","code":410})"},
        {.body = List(6, {"a", "b"})}});
  EXPECT_THAT(Target(2), HasSubstr("limit=0"));
  EXPECT_THAT(changes_, ElementsAre("+d/a", "+d/b"));
}

TEST_F(ReflectorTest, ACutOffListChangesNothing) {
  std::string cut = List(7, {"c"});
  cut.resize(cut.size() - 3);
  Play({{.body = List(5, {"a"})}, {.body = kExpired}, {.body = cut}});
  EXPECT_THAT(Names(), ElementsAre("d/a"));
}

TEST_F(ReflectorTest, ASilentWatchIsTakenForDead) {
  options_.watch_timeout = absl::Milliseconds(40);
  Play({{.body = List(5, {"a"})}, {.hang = true}});
  EXPECT_EQ(transport_.requests.size(), 3u);
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=5&"));
}

TEST_F(ReflectorTest, GarbageInAWatchIsSurvived) {
  Play({{.body = List(5, {"a"})},
        {.body = "<html>"},
        {.body = Event("ADDED", "b", 6) + R"({"type":"ADDED"})"},
        {.body = Event("ADDED", "c", 7)}});
  EXPECT_THAT(Names(), ElementsAre("d/a", "d/b", "d/c"));
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=5&"));
  EXPECT_THAT(Target(3), HasSubstr("resourceVersion=6&"));
}

// It is so at the server: a watch from before it would get it again for ever.
TEST_F(ReflectorTest, AnEventThatStaysUnreadableIsListedPast) {
  Play({{.body = List(5, {"a"})},
        {.body = R"({"type":"ADDED"})"},
        {.body = R"({"type":"ADDED"})"},
        {.body = List(9, {"a", "c"})},
        {.body = Event("ADDED", "d", 10)}});
  EXPECT_THAT(Target(2), HasSubstr("resourceVersion=5&"));
  EXPECT_THAT(Target(3), HasSubstr("limit=7"));
  EXPECT_THAT(Target(4), HasSubstr("resourceVersion=9&"));
  EXPECT_THAT(Names(), ElementsAre("d/a", "d/c", "d/d"));
}

// Twice as long each time, within 50 % either way, up to a maximum.
TEST_F(ReflectorTest, BacksOffFromAServerThatIsGone) {
  options_.min_backoff = absl::Milliseconds(10);
  options_.max_backoff = absl::Milliseconds(80);
  const absl::Time begin = absl::Now();
  Play({{.no_server = true},
        {.no_server = true},
        {.no_server = true},
        {.no_server = true},
        {.no_server = true}});
  EXPECT_GE(absl::Now() - begin,
            absl::Milliseconds((10 + 20 + 40 + 80 + 80) / 2));
}

TEST_F(ReflectorTest, Selectors) {
  options_.label_selector = "!service.kubernetes.io/service-proxy-name";
  options_.field_selector = "spec.clusterIP!=None";
  Play({{.body = List(5, {})}});
  EXPECT_EQ(Target(0),
            "/api/v1/services?labelSelector="
            "%21service.kubernetes.io%2Fservice-proxy-name"
            "&fieldSelector=spec.clusterIP%21%3DNone&limit=7");
}

TEST_F(ReflectorTest, IndexFollowsChanges) {
  informer_ = std::make_unique<Informer>(&loop_, &transport_, options_);
  informer_->AddIndex("first", [](const nlohmann::json& o) {
    return std::vector<std::string>{
        o["metadata"]["name"].get<std::string>().substr(0, 1)};
  });
  informer_->Start();
  Play({{.body = List(5, {"a1", "a2", "b1"})},
        {.body = Event("DELETED", "a1", 6)}});
  ASSERT_EQ(informer_->ByIndex("first", "a").size(), 1u);
  EXPECT_EQ(KeyOf(*informer_->ByIndex("first", "a")[0]), "d/a2");
  EXPECT_TRUE(informer_->ByIndex("first", "z").empty());
  // Items of a list get the kind that the server leaves out.
  EXPECT_EQ((*informer_->Get("d/b1"))["kind"], "Service");
}

TEST_F(ReflectorTest, ClientErrorsKeepTheReason) {
  Client client(&transport_, "test");
  transport_.answers = {
      {.status = 409,
       .body = R"({"kind":"Status","reason":"Conflict","message":"m"})"},
      {.status = 409, .body = R"({"kind":"Status","reason":"AlreadyExists"})"},
      {.status = 429, .body = "", .headers = {{"retry-after", "3"}}},
      {.status = 200, .body = "{\"a\":1}"},
      {.status = 200, .body = "{"}};
  std::vector<absl::Status> statuses;
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 5; ++i) {
    calls.push_back(client.Get(Services(), "d", "x",
                               [&](absl::StatusOr<nlohmann::json> result) {
                                 statuses.push_back(result.status());
                                 if (statuses.size() == 5) loop_.Stop();
                               }));
  }
  loop_.Run();
  ASSERT_EQ(statuses.size(), 5u);
  EXPECT_TRUE(absl::IsAborted(statuses[0]));
  EXPECT_EQ(ApiErrorOf(statuses[0])->reason, "Conflict");
  EXPECT_TRUE(absl::IsAlreadyExists(statuses[1]));
  EXPECT_TRUE(absl::IsResourceExhausted(statuses[2]));
  EXPECT_EQ(ApiErrorOf(statuses[2])->retry_after, absl::Seconds(3));
  EXPECT_TRUE(statuses[3].ok());
  EXPECT_TRUE(absl::IsInternal(statuses[4]));
}

TEST(WorkQueue, FairStingyAndReentrant) {
  EventLoop loop;
  std::vector<std::string> began;
  std::map<std::string, std::function<void(absl::Status)>> open;
  WorkQueue queue(
      &loop, "test",
      [&](const std::string& key, std::function<void(absl::Status)> done) {
        began.push_back(key);
        open[key] = std::move(done);
        if (began.size() == 2) loop.Stop();
        if (began.size() == 4) loop.Stop();
      },
      2);
  for (const char* key : {"a", "a", "b", "c", "a"}) queue.Add(key);
  loop.Run();
  EXPECT_THAT(began, ElementsAre("a", "b"));
  queue.Add("a");  // while it is worked on
  queue.Add("a");
  open["a"](absl::OkStatus());
  open["b"](absl::OkStatus());
  loop.Run();
  EXPECT_THAT(began, ElementsAre("a", "b", "c", "a"));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(WorkQueue, AnErrorComesBackAndCloseIsSafe) {
  EventLoop loop;
  int tries = 0;
  std::function<void(absl::Status)> last;
  auto queue = std::make_unique<WorkQueue>(
      &loop, "test",
      [&](const std::string&, std::function<void(absl::Status)> done) {
        last = done;
        if (++tries == 3) return loop.Stop();
        done(absl::InternalError("no"));
      });
  queue->Add("a");
  loop.Run();
  EXPECT_EQ(tries, 3);
  queue.reset();
  last(absl::OkStatus());
}

}  // namespace
}  // namespace fairlead::kube
