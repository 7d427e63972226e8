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

}  // namespace
}  // namespace fairlead::api
