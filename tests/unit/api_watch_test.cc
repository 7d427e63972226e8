// SPDX-License-Identifier: Apache-2.0
// Watches, as a client sees them.
#include <gmock/gmock.h>

#include "tests/unit/api_fixture.h"

namespace fairlead::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kWidgets = "/apis/test.io/v1/namespaces/default/widgets";

// A watch that is open, and what it has brought.
struct Stream {
  std::unique_ptr<kube::Call> call;
  int status = 0;
  std::string text;
  std::optional<absl::Status> end;

  std::vector<Json> events() const {
    std::vector<Json> out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      out.push_back(Json::parse(line, nullptr, false));
    }
    return out;
  }
  // "ADDED a", "BOOKMARK", ...
  std::vector<std::string> words() const {
    std::vector<std::string> out;
    for (const Json& event : events()) {
      std::string word = event["type"];
      Json name = event.value("/object/metadata/name"_json_pointer, Json());
      if (name.is_string()) word += " " + name.get<std::string>();
      out.push_back(std::move(word));
    }
    return out;
  }
};

class WatchTest : public ApiServerTest {
 protected:
  std::unique_ptr<Stream> Watch(const std::string& query,
                                kube::Headers headers = {}) {
    auto stream = std::make_unique<Stream>();
    Stream* s = stream.get();
    kube::Request request{
        "GET", std::string(kWidgets) + "?watch=true&" + query, headers, ""};
    stream->call = server_->transport()->Stream(
        request,
        {[s](const kube::Response& head) { s->status = head.status; },
         [s](std::string_view chunk) { s->text += chunk; },
         [s](absl::Status status) { s->end = std::move(status); }});
    return stream;
  }
  bool RunUntilEvents(const Stream& stream, size_t n) {
    return RunUntil([&] { return stream.events().size() >= n; });
  }
  std::string Make(const std::string& name, const std::string& label = "x") {
    Json object = {{"metadata", {{"name", name}, {"labels", {{"a", label}}}}},
                   {"spec", {{"size", 1}}}};
    Answer answer = Do("POST", kWidgets, object.dump());
    EXPECT_EQ(answer.status, 201) << answer.body;
    return answer.json()["metadata"]["resourceVersion"];
  }
  std::string At(const std::string& name) {
    return std::string(kWidgets) + "/" + name;
  }
};

TEST_F(WatchTest, FromAVersionEveryLaterChange) {
  std::string version = Make("a");
  std::string later = Make("b");
  auto stream = Watch("resourceVersion=" + version);
  ASSERT_TRUE(RunUntilEvents(*stream, 1));
  Patch(At("a"), "merge-patch", R"({"spec":{"size":2}})");
  Patch(At("a"), "merge-patch", R"({"spec":{"size":2}})");  // a no-op
  Do("DELETE", At("a"));
  ASSERT_TRUE(RunUntilEvents(*stream, 3));
  EXPECT_THAT(stream->words(),
              ElementsAre("ADDED b", "MODIFIED a", "DELETED a"));
  Json gone = stream->events()[2]["object"];
  EXPECT_EQ(gone["kind"], "Widget");
  EXPECT_EQ(gone["spec"]["size"], 2);
  EXPECT_GT(std::stoll(gone["metadata"]["resourceVersion"].get<std::string>()),
            std::stoll(later));
  EXPECT_FALSE(stream->end.has_value());
}

// To who takes objects: the same, in the same order, without managedFields.
TEST_F(WatchTest, EventsAreHandedOverInThisProcess) {
  const std::string version = Make("a");
  auto lines = Watch("resourceVersion=" + version);
  std::vector<std::string> types;
  std::vector<Json> trees, texts;
  kube::StreamCallbacks callbacks;
  callbacks.on_object = [&](const kube::WatchedObject& object) {
    types.emplace_back(object.type);
    trees.push_back(*object.object);
    texts.push_back(Json::parse(object.text, nullptr, false));
    EXPECT_EQ(Json(object.resource_version),
              object.object->at("/metadata/resourceVersion"_json_pointer));
  };
  std::string chunks;
  callbacks.on_chunk = [&](std::string_view chunk) { chunks += chunk; };
  auto call = server_->transport()->Stream(
      {"GET", std::string(kWidgets) + "?watch=true&resourceVersion=" + version,
       {}, ""},
      callbacks);
  Make("b", "\"\\\xc3\xa4");
  Patch(At("a"), "merge-patch", R"({"spec":{"size":2}})");
  Do("DELETE", At("b"));
  ASSERT_TRUE(RunUntil([&] { return types.size() == 3; }));
  ASSERT_TRUE(RunUntilEvents(*lines, 3));
  EXPECT_EQ(chunks, "");
  for (size_t i = 0; i < 3; ++i) {
    Json event = lines->events()[i];
    EXPECT_EQ(Json(types[i]), event["type"]);
    Json& object = event["object"];
    EXPECT_EQ(object["metadata"].erase("managedFields"), 1u);
    EXPECT_EQ(trees[i], object);
    object.erase("kind");
    object.erase("apiVersion");
    EXPECT_EQ(texts[i], object);
  }
}

TEST_F(WatchTest, InitialEventsAsTheVersionAsks) {
  Make("b");
  std::string version = Make("a");
  auto none = Watch("allowWatchBookmarks=true");
  ASSERT_TRUE(RunUntilEvents(*none, 3));
  EXPECT_THAT(none->words(), ElementsAre("ADDED a", "ADDED b", "BOOKMARK"));
  Json bookmark = none->events()[2]["object"];
  EXPECT_EQ(bookmark["kind"], "Widget");
  EXPECT_EQ(bookmark["metadata"]["resourceVersion"], version);
  EXPECT_EQ(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"],
            "true");
  auto zero = Watch("resourceVersion=0&allowWatchBookmarks=true");
  ASSERT_TRUE(RunUntilEvents(*zero, 2));
  auto streamed = Watch(
      "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&"
      "allowWatchBookmarks=true");
  ASSERT_TRUE(RunUntilEvents(*streamed, 3));
  EXPECT_EQ(streamed->words().back(), "BOOKMARK");
  EXPECT_EQ(zero->words().size(), 2u);  // no bookmark
  auto quiet = Watch("sendInitialEvents=false&resourceVersionMatch="
                     "NotOlderThan&resourceVersion=" + version);
  Make("c");
  ASSERT_TRUE(RunUntilEvents(*quiet, 1));
  EXPECT_THAT(quiet->words(), ElementsAre("ADDED c"));
}

TEST_F(WatchTest, AnObjectThatLeavesTheSelectorIsDeleted) {
  std::string version = Make("a", "x");
  auto stream = Watch("labelSelector=a%3Dx&resourceVersion=" + version);
  auto label = [&](const std::string& value) {
    return Patch(At("a"), "merge-patch",
                 R"({"metadata":{"labels":{"a":")" + value + "\"}}}")
        .json();
  };
  Json left = label("y");
  label("z");  // silent
  label("x");
  ASSERT_TRUE(RunUntilEvents(*stream, 2));
  EXPECT_THAT(stream->words(), ElementsAre("DELETED a", "ADDED a"));
  Json deleted = stream->events()[0]["object"]["metadata"];
  EXPECT_EQ(deleted["labels"]["a"], "x");  // as it last matched
  EXPECT_EQ(deleted["resourceVersion"], left["metadata"]["resourceVersion"]);
}

TEST_F(WatchTest, TooOldIsAnErrorEventAndTheEnd) {
  ServerOptions options;
  options.watch_history = 2;
  Start(options);
  std::string version = Make("a");
  for (const char* name : {"b", "c", "d", "e"}) Make(name);
  auto stream = Watch("resourceVersion=" + version);
  ASSERT_TRUE(RunUntil([&] { return stream->end.has_value(); }));
  EXPECT_EQ(stream->status, 200);
  EXPECT_TRUE(stream->end->ok());
  ASSERT_EQ(stream->events().size(), 1u);
  Json event = stream->events()[0];
  EXPECT_EQ(event["type"], "ERROR");
  EXPECT_EQ(event["object"]["code"], 410);
  EXPECT_EQ(event["object"]["reason"], "Expired");
  EXPECT_THAT(event["object"]["message"].get<std::string>(),
              HasSubstr("too old resource version: " + version + " ("));
}

TEST_F(WatchTest, AFutureVersion) {
  auto streamed = Watch(
      "sendInitialEvents=true&allowWatchBookmarks=true&"
      "resourceVersionMatch=NotOlderThan&resourceVersion=999999");
  ASSERT_TRUE(RunUntil([&] { return streamed->end.has_value(); }));
  EXPECT_EQ(streamed->events()[0]["object"]["code"], 504);
  // A plain watch waits in silence.
  auto silent = Watch("resourceVersion=999999&timeoutSeconds=1");
  Make("a");
  ASSERT_TRUE(RunUntil([&] { return silent->end.has_value(); }));
  EXPECT_EQ(silent->text, "");
}

TEST_F(WatchTest, TimeoutEndsCleanlyAfterABookmark) {
  std::string version = Make("a");
  auto stream = Watch("timeoutSeconds=1&allowWatchBookmarks=true&"
                      "resourceVersion=" + version);
  ASSERT_TRUE(RunUntil([&] { return stream->end.has_value(); }));
  EXPECT_TRUE(stream->end->ok());
  EXPECT_THAT(stream->words(), ElementsAre("BOOKMARK"));
}

TEST_F(WatchTest, BookmarksCarryTheNewestRevision) {
  ServerOptions options;
  options.bookmark_interval = absl::Milliseconds(20);
  Start(options);
  std::string version = Make("a");
  auto stream =
      Watch("allowWatchBookmarks=true&resourceVersion=" + version +
            "&fieldSelector=metadata.name%3Dnone");
  std::string newest = Make("b");
  ASSERT_TRUE(RunUntil([&] {
    auto events = stream->events();
    return !events.empty() &&
           events.back()["object"]["metadata"]["resourceVersion"] == newest;
  }));
}

TEST_F(WatchTest, AsTables) {
  std::string version = Make("a");
  auto stream =
      Watch("resourceVersion=0",
            {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}});
  ASSERT_TRUE(RunUntilEvents(*stream, 1));
  Make("b");
  ASSERT_TRUE(RunUntilEvents(*stream, 2));
  auto events = stream->events();
  EXPECT_EQ(events[0]["object"]["kind"], "Table");
  EXPECT_EQ(events[0]["object"]["columnDefinitions"].size(), 2u);
  EXPECT_EQ(events[0]["object"]["rows"][0]["cells"][0], "a");
  EXPECT_TRUE(events[1]["object"]["columnDefinitions"].is_null());
}

TEST_F(WatchTest, ALargeStateIsntHeldAgainstItsWatcher) {
  ServerOptions options;
  options.max_watch_queue_bytes = 4000;
  Start(options);
  for (int i = 0; i < 40; ++i) Make("w" + std::to_string(i));
  auto stream = Watch("resourceVersion=0");  // all of it at once
  ASSERT_TRUE(RunUntilEvents(*stream, 40));
  EXPECT_GT(stream->text.size(), 8000u);
  Make("later");
  ASSERT_TRUE(RunUntilEvents(*stream, 41));
  EXPECT_EQ(stream->words().back(), "ADDED later");
  EXPECT_FALSE(stream->end.has_value());
}

TEST_F(WatchTest, ASlowWatcherIsCutOff) {
  ServerOptions options;
  options.max_watch_queue_bytes = 4000;
  Start(options);
  for (int i = 0; i < 40; ++i) Make("w" + std::to_string(i));
  auto stream = Watch("resourceVersion=0");
  ASSERT_TRUE(RunUntilEvents(*stream, 40));
  // The first events are through: what they were allowed counts no more.
  Make("later");
  ASSERT_TRUE(RunUntilEvents(*stream, 41));
  // An event that is more than the limit puts anyone behind by as much.
  Make("large", std::string(6000, 'x'));
  ASSERT_TRUE(RunUntil([&] { return stream->end.has_value(); }));
  EXPECT_FALSE(stream->end->ok());
  EXPECT_THAT(Do("GET", "/metrics").body,
              HasSubstr("fl_api_watches_cut_off_total 1"));
}

TEST_F(WatchTest, AWatcherThatGoesAwayIsForgotten) {
  auto stream = Watch("resourceVersion=0");
  ASSERT_TRUE(RunUntil([&] { return stream->status == 200; }));
  EXPECT_THAT(Do("GET", "/metrics").body, HasSubstr("fl_api_watches 1\n"));
  stream->call.reset();
  EXPECT_TRUE(RunUntil([&] {
    return Do("GET", "/metrics").body.find("fl_api_watches 0\n") !=
           std::string::npos;
  }));
}

}  // namespace
}  // namespace fairlead::api
