// SPDX-License-Identifier: Apache-2.0
// Replays recorded server-side applies, and writes whose answers show who owns
// what, against an API server with the real kinds. Every field of the answers
// counts but made-up values; a resourceVersion has to be the same as, or other
// than, earlier ones exactly where the recorded one is.
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_replace.h"
#include "control/api/allocator.h"
#include "control/api/kinds.h"
#include "gtest/gtest.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/api_testdata.h"

namespace fairlead::api {
namespace {

class RecordedApplyTest : public ApiServerTest {
 protected:
  RecordedApplyTest() {
    Stop();
    kinds_ = MakeKindTable();
    ServiceAllocatorOptions options;
    options.service_cidrs = {*IpPrefix::Parse("10.96.0.0/12"),
                             *IpPrefix::Parse("fd00:10:96::/108")};
    auto allocator = MakeServiceAllocator(options);
    EXPECT_TRUE(allocator.ok());
    allocator_ = *std::move(allocator);
    admissions_ = {allocator_.get()};
    Start();
    Do("POST", "/api/v1/namespaces", R"({"metadata":{"name":"err"}})");
  }

  std::unique_ptr<Admission> allocator_;
};

// Without what a server makes up; times as far as they are there.
Json Comparable(const Json& value) {
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& element : value) out.push_back(Comparable(element));
    return out;
  }
  if (!value.is_object()) return value;
  Json out = Json::object();
  for (const auto& [key, member] : value.items()) {
    if (key == "uid" || key == "creationTimestamp" || key == "clusterIP" ||
        key == "clusterIPs" || key == "resourceVersion") {
      continue;
    }
    if (key == "nodePort" || key == "time") {
      out[key] = "made up";
    } else {
      out[key] = Comparable(member);
    }
  }
  return out;
}

TEST_F(RecordedApplyTest, AnswersAreAsRecorded) {
  Json data = ReadTestdata("apply.json");
  ASSERT_EQ(data["cases"].size(), 5u);
  for (const Json& one : data["cases"]) {
    std::map<std::string, std::string> versions;  // recorded -> ours
    for (const Json& exchange : one["exchanges"]) {
      SCOPED_TRACE(one["case"].dump() + " " + exchange["note"].dump() + " " +
                   exchange["method"].dump() + " " + exchange["path"].dump());
      std::string body = exchange["body"];
      for (const auto& [recorded, ours] : versions) {
        body = absl::StrReplaceAll(
            body, {{"\"" + recorded + "\"", "\"" + ours + "\""}});
      }
      Answer answer = Do(exchange["method"], exchange["path"], body,
                         {{"Content-Type", exchange["contentType"]},
                          {"User-Agent", exchange["userAgent"]}});
      EXPECT_EQ(answer.status, exchange["status"].get<int>());
      Json got = answer.json();
      ASSERT_TRUE(got.is_object()) << answer.body;
      const Json& want = exchange["answer"];
      if (want.is_null()) continue;  // a step that was not recorded
      EXPECT_EQ(Comparable(got), Comparable(want))
          << Json::diff(Comparable(want), Comparable(got)).dump(1);
      if (!want["metadata"].contains("resourceVersion")) continue;
      std::string recorded = want["metadata"]["resourceVersion"];
      std::string ours = got["metadata"].value("resourceVersion", "");
      bool known = versions.contains(recorded);
      for (const auto& [theirs, mine] : versions) {
        EXPECT_EQ(theirs == recorded, mine == ours)
            << theirs << " is " << mine << " here, " << recorded << " " << ours;
      }
      if (!known) versions[recorded] = ours;
    }
  }
}

// What an apply says of the status is not the main endpoint's to write, so it
// differs from the object each time; only its time would change.
TEST_F(RecordedApplyTest, ANewTimeAloneIsNoChange) {
  const std::string path =
      "/api/v1/namespaces/default/services/s?fieldManager=me";
  kube::Headers apply = {{"Content-Type", "application/apply-patch+yaml"}};
  const std::string config =
      "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
      "spec: {ports: [{port: 80}]}\n"
      "status: {conditions: [{type: X, status: 'True', reason: R, "
      "message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}\n";
  ASSERT_EQ(Do("PATCH", path, config, apply).status, 201);
  Answer old = Patch(path, "json-patch",
                     R"([{"op":"replace","path":"/metadata/managedFields/0/time",)"
                     R"("value":"2020-01-01T00:00:00Z"}])");
  ASSERT_EQ(old.status, 200) << old.body;
  Answer again = Do("PATCH", path, config, apply);
  ASSERT_EQ(again.status, 200);
  EXPECT_EQ(again.json()["metadata"], old.json()["metadata"]);
}

TEST_F(RecordedApplyTest, OptionsAndTypesThatAreRefused) {
  const std::string path = "/api/v1/namespaces/default/configmaps/c";
  struct Row {
    std::string query, type, body;
    int status;
    std::string words;
  };
  const std::string body = "apiVersion: v1\nkind: ConfigMap\n";
  for (const Row& row : std::vector<Row>{
           {"?fieldManager=a", "application/apply-patch+cbor", body, 415, ""},
           {"?fieldManager=a", "application/apply-patch+yaml", "kind: [", 400,
            "error decoding YAML"},
           {"?fieldManager=a", "application/apply-patch+yaml",
            "metadata: {name: c}", 400, "Incorrect version specified"},
           {"?force=true", "application/merge-patch+json", "{}", 422,
            "force: Forbidden: may not be specified for non-apply patch"},
           {"/status?fieldManager=a", "application/apply-patch+yaml", body, 404,
            ""}}) {
    Answer answer = Do("PATCH", path + row.query, row.body,
                       {{"Content-Type", row.type}});
    EXPECT_EQ(answer.status, row.status) << row.query << answer.body;
    EXPECT_NE(answer.body.find(row.words), std::string::npos) << answer.body;
  }
}

}  // namespace
}  // namespace fairlead::api
