// SPDX-License-Identifier: Apache-2.0
// Protobuf as a typed client speaks it with the server: bodies, answers,
// errors, lists, watches, and what Accept chooses.
#include <gmock/gmock.h>

#include "control/api/json_access.h"
#include "control/api/kinds.h"
#include "control/api/protobuf_object.h"
#include "tests/unit/api_fixture.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
constexpr const char* kProto = "application/vnd.kubernetes.protobuf";
constexpr const char* kAsTable = ";as=Table;v=v1;g=meta.k8s.io";

class ProtobufServerTest : public ApiServerTest {
 protected:
  ProtobufServerTest() {
    Stop();
    kinds_ = MakeKindTable();
    Start();
  }

  std::string MapBody(const std::string& name) {
    return *objects_.Encode({{"apiVersion", "v1"},
                             {"kind", "ConfigMap"},
                             {"metadata", {{"name", name}}},
                             {"data", {{"k", "v"}}}});
  }
  Answer Make(const std::string& name, const char* accept = kProto) {
    return Do("POST", kMaps, MapBody(name),
              {{"Content-Type", kProto}, {"Accept", accept}});
  }
  Answer Get(const std::string& target, const std::string& accept) {
    return Do("GET", target, "", {{"Accept", accept}});
  }
  static std::string Type(const Answer& answer) {
    return std::string(FindHeader(answer.headers, "content-type"));
  }
  // The object of a protobuf answer.
  Json Object(const Answer& answer) {
    EXPECT_EQ(Type(answer), kProto) << answer.body;
    auto object = objects_.Decode(answer.body, "any");
    EXPECT_TRUE(object.ok()) << object.status();
    return object.ok() ? *object : Json();
  }

  ProtobufObjects objects_{&kinds_};
};

TEST_F(ProtobufServerTest, ABodyIsStoredAndAnswered) {
  Answer made = Make("a");
  EXPECT_EQ(made.status, 201);
  Json object = Object(made);
  EXPECT_EQ(object["data"], (Json{{"k", "v"}}));
  EXPECT_EQ(object["metadata"]["namespace"], "default");
  // The same in JSON: nothing of the form is kept.
  Json json = Get(StrCat(kMaps, "/a"), "application/json").json();
  EXPECT_EQ(json, object);
  // And back in, with a change.
  object["data"]["k"] = "w";
  Answer put = Do("PUT", StrCat(kMaps, "/a"), *objects_.Encode(object),
                  {{"Content-Type", kProto}});
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(put.json()["data"]["k"], "w");
}

TEST_F(ProtobufServerTest, ErrorsAreAStatusInTheSameForm) {
  Answer missing = Get(StrCat(kMaps, "/nope"), kProto);
  EXPECT_EQ(missing.status, 404);
  Json status = Object(missing);
  EXPECT_EQ(status["kind"], "Status");
  EXPECT_EQ(status["message"], "configmaps \"nope\" not found");
  EXPECT_EQ(status["details"]["kind"], "configmaps");

  Answer invalid = Make("Bad_Name");
  EXPECT_EQ(invalid.status, 422);
  EXPECT_EQ(Object(invalid)["details"]["causes"][0]["field"],
            "metadata.name");
  Answer garbage = Do("POST", kMaps, std::string("\0\1", 2),
                      {{"Content-Type", kProto}});
  EXPECT_EQ(garbage.status, 400);
  EXPECT_THAT(garbage.json()["message"].get<std::string>(),
              HasSubstr("(must be of type ConfigMap): provided data does not "
                        "appear to be a protobuf message"));
  Answer patch = Do("PATCH", StrCat(kMaps, "/a"), MapBody("a"),
                    {{"Content-Type", kProto}});
  EXPECT_EQ(patch.status, 415);
}

TEST_F(ProtobufServerTest, DeleteTakesOptionsAndAnswersAStatus) {
  Make("a");
  std::string options = *objects_.Encode(
      {{"apiVersion", "v1"},
       {"kind", "DeleteOptions"},
       {"preconditions", {{"uid", "another"}}}});
  kube::Headers headers = {{"Content-Type", kProto}, {"Accept", kProto}};
  EXPECT_EQ(Do("DELETE", StrCat(kMaps, "/a"), options, headers).status, 409);
  Answer gone = Do("DELETE", StrCat(kMaps, "/a"), "", headers);
  EXPECT_EQ(gone.status, 200);
  EXPECT_EQ(Object(gone)["status"], "Success");
}

// A list is items' messages in an envelope of its own; here it is taken apart
// far enough to see them.
TEST_F(ProtobufServerTest, Lists) {
  Make("a");
  Make("b");
  Answer list = Get(kMaps, kProto);
  EXPECT_EQ(list.status, 200);
  EXPECT_EQ(Type(list), kProto);
  Json json = Get(kMaps, "application/json").json();
  ASSERT_EQ(json["items"].size(), 2u);
  EXPECT_EQ(list.body, objects_.Encode(json).value_or(""));
  Answer names = Get(
      kMaps, StrCat(kProto, ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"));
  EXPECT_EQ(Type(names), kProto);
  EXPECT_THAT(names.body, HasSubstr("PartialObjectMetadataList"));
}

TEST_F(ProtobufServerTest, AcceptGoesByQualityThenByOrder) {
  Make("a");
  auto chosen = [&](std::string accept) {
    Answer answer = Get(StrCat(kMaps, "/a"), accept);
    return answer.status == 200 ? Type(answer) : StrCat(answer.status);
  };
  EXPECT_EQ(chosen(StrCat(kProto, ",application/json")), kProto);
  EXPECT_EQ(chosen(StrCat("application/json,", kProto)), "application/json");
  EXPECT_EQ(chosen(StrCat("application/json;q=0.5, ", kProto, ";q=0.1")),
            "application/json");
  EXPECT_EQ(chosen(StrCat("application/json;q=0.1, ", kProto, ";q=0.5")),
            kProto);
  EXPECT_EQ(chosen("application/*"), "406");
  EXPECT_EQ(chosen("*/*"), "application/json");
  // A Table has no protobuf form: the next is taken.
  EXPECT_EQ(chosen(StrCat(kProto, kAsTable, ",application/yaml")),
            "application/yaml");
  EXPECT_EQ(chosen(StrCat(kProto, kAsTable)), "406");
}

// The events of a watch: "ADDED a".
std::vector<std::string> Events(const ProtobufObjects& objects,
                                std::string_view text) {
  std::vector<std::string> out;
  while (text.size() >= 4) {
    uint32_t size = 0;
    for (int i = 0; i < 4; ++i) {
      size = size << 8 | static_cast<unsigned char>(text[i]);
    }
    if (text.size() < 4 + size) break;
    std::string_view frame = text.substr(4, size);
    text.remove_prefix(4 + size);
    std::string_view type = frame.substr(2, frame[1]);
    size_t magic = frame.find("k8s");
    auto object = objects.Decode(frame.substr(magic), "any");
    EXPECT_TRUE(object.ok()) << object.status();
    if (!object.ok()) break;
    out.push_back(StrCat(type, " ", Text(*object, "kind"), " ",
                         Text(*object, {"metadata", "name"})));
  }
  return out;
}

TEST_F(ProtobufServerTest, WatchesAreFrames) {
  Make("a");
  struct Watch {
    std::string type, bytes;
    std::unique_ptr<kube::Call> call;
  };
  Watch watches[2];
  for (Watch& watch : watches) {
    kube::Request request{
        "GET", StrCat(kMaps, "?watch=true&allowWatchBookmarks=true"),
        {{"Accept", StrCat(kProto, ";stream=watch,application/json")}}, ""};
    watch.call = server_->transport()->Stream(
        request, {[&watch](const kube::Response& head) {
                    watch.type = FindHeader(head.headers, "content-type");
                  },
                  [&watch](std::string_view chunk) { watch.bytes += chunk; },
                  [](absl::Status) {}});
  }
  Make("b");
  Do("DELETE", StrCat(kMaps, "/a"));
  for (Watch& watch : watches) {
    ASSERT_TRUE(RunUntil(
        [&] { return Events(objects_, watch.bytes).size() >= 4; }));
    EXPECT_EQ(watch.type, StrCat(kProto, ";stream=watch"));
    EXPECT_THAT(Events(objects_, watch.bytes),
                ElementsAre("ADDED ConfigMap a", "BOOKMARK ConfigMap ",
                            "ADDED ConfigMap b", "DELETED ConfigMap a"));
  }
  EXPECT_EQ(watches[0].bytes, watches[1].bytes);
}

TEST_F(ProtobufServerTest, AnErrorOfAWatchIsAFrame) {
  // Forgotten: only the last change is kept.
  ServerOptions options;
  options.watch_history = 1;
  Start(options);
  Make("a");
  Make("b");
  Make("c");
  std::string bytes;
  kube::Request request{"GET", StrCat(kMaps, "?watch=true&resourceVersion=1"),
                        {{"Accept", kProto}}, ""};
  bool ended = false;
  auto call = server_->transport()->Stream(
      request, {[](const kube::Response&) {},
                [&](std::string_view chunk) { bytes += chunk; },
                [&](absl::Status) { ended = true; }});
  ASSERT_TRUE(RunUntil([&] { return ended; }));
  EXPECT_THAT(Events(objects_, bytes), ElementsAre("ERROR Status "));
  EXPECT_THAT(bytes, HasSubstr("too old resource version"));
}

}  // namespace
}  // namespace fairlead::api
