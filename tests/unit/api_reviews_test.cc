// SPDX-License-Identifier: Apache-2.0
// Questions about oneself, and requests on behalf of others.
#include <gmock/gmock.h>

#include "control/api/kinds.h"
#include "tests/unit/api_fixture.h"

namespace fairlead::api {
namespace {

class ReviewsTest : public ApiServerTest {
 protected:
  ReviewsTest() {
    kinds_ = MakeKindTable();
    Start();
  }

  Answer Ask(const std::string& path, const std::string& body,
             kube::Headers headers = {}) {
    headers.emplace_back("Content-Type", "application/json");
    return Do("POST", "/apis/" + path, body, std::move(headers));
  }
};

constexpr char kAccess[] = "authorization.k8s.io/v1/selfsubjectaccessreviews";
constexpr char kRules[] = "authorization.k8s.io/v1/selfsubjectrulesreviews";
constexpr char kSelf[] = "authentication.k8s.io/v1/selfsubjectreviews";

TEST_F(ReviewsTest, SaysWhoAsks) {
  struct Row {
    kube::Headers headers;
    Json user;
  };
  for (const Row& row : std::vector<Row>{
           {{},
            {{"username", "admin"},
             {"uid", "admin"},
             {"groups", {"system:masters", "system:authenticated"}}}},
           {{{"Impersonate-User", "ann"}},
            {{"username", "ann"},
             {"groups", Json::array({"system:authenticated"})}}},
           {{{"Impersonate-User", "ann"},
             {"Impersonate-Uid", "7"},
             {"Impersonate-Group", "ops"},
             {"Impersonate-Group", "dev"}},
            {{"username", "ann"},
             {"uid", "7"},
             {"groups", {"ops", "dev", "system:authenticated"}}}},
           {{{"Impersonate-User", "system:serviceaccount:a:b"},
             {"Impersonate-Extra-Scopes", "one"}},
            {{"username", "system:serviceaccount:a:b"},
             {"groups",
              {"system:serviceaccounts", "system:serviceaccounts:a",
               "system:authenticated"}},
             {"extra", {{"scopes", Json::array({"one"})}}}}}}) {
    Answer answer = Ask(kSelf, "{}", row.headers);
    EXPECT_EQ(answer.status, 201) << answer.body;
    EXPECT_EQ(answer.json()["status"]["userInfo"], row.user);
    EXPECT_EQ(answer.json()["kind"], "SelfSubjectReview");
  }
}

TEST_F(ReviewsTest, SaysWhatOneMay) {
  struct Row {
    const char* user;
    const char* spec;
    bool allowed;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"", R"({"resourceAttributes":{"verb":"delete",
                   "resource":"nodes"}})", true},
           {"ann", R"({"resourceAttributes":{"verb":"list",
                   "resource":"pods"}})", false},
           {"ann", R"({"resourceAttributes":{"verb":"create",
                   "group":"authorization.k8s.io",
                   "resource":"selfsubjectaccessreviews"}})", true},
           {"ann", R"({"nonResourceAttributes":{"verb":"get",
                   "path":"/version"}})", true},
           {"ann", R"({"nonResourceAttributes":{"verb":"get",
                   "path":"/metrics"}})", false},
           {"ann", R"({"nonResourceAttributes":{"verb":"post",
                   "path":"/version"}})", false}}) {
    kube::Headers headers;
    if (*row.user) headers = {{"Impersonate-User", row.user}};
    Answer answer =
        Ask(kAccess, std::string(R"({"spec":)") + row.spec + "}", headers);
    EXPECT_EQ(answer.status, 201) << answer.body;
    EXPECT_EQ(answer.json()["status"]["allowed"], row.allowed) << row.spec;
  }
}

// kubectl/auth-can-i: who asked is the manager of what was asked; a list of
// rules has neither.
TEST_F(ReviewsTest, HaveTheirManagers) {
  Json one = Ask(kAccess, R"({"spec":{"nonResourceAttributes":
                              {"verb":"get","path":"/version"}}})",
                 {{"User-Agent", "kubectl/v1"}})
                 .json();
  const Json managed = one["metadata"].value("managedFields", Json::array());
  ASSERT_EQ(managed.size(), 1u) << one;
  EXPECT_EQ(managed[0]["manager"], "kubectl");
  EXPECT_EQ(managed[0]["fieldsV1"]["f:spec"]["f:nonResourceAttributes"],
            Json::parse(R"({".":{},"f:path":{},"f:verb":{}})"));
  Json rules = Ask(kRules, R"({"spec":{"namespace":"default"}})").json();
  EXPECT_FALSE(rules["metadata"].contains("managedFields"));
  EXPECT_FALSE(rules["spec"].contains("namespace"));
}

TEST_F(ReviewsTest, ListsWhatOneMay) {
  Json all = Ask(kRules, R"({"spec":{"namespace":"default"}})").json();
  Json some = Ask(kRules, R"({"spec":{"namespace":"default"}})",
                  {{"Impersonate-User", "ann"}})
                  .json();
  EXPECT_EQ(all["status"]["resourceRules"].size(), 3u);
  EXPECT_EQ(some["status"]["resourceRules"].size(), 2u);
  EXPECT_EQ(all["status"]["resourceRules"][2]["verbs"], Json::array({"*"}));
  EXPECT_EQ(all["status"]["nonResourceRules"].size(), 3u);
  EXPECT_EQ(some["status"]["nonResourceRules"].size(), 2u);
  EXPECT_EQ(some["status"]["incomplete"], false);
}

TEST_F(ReviewsTest, AnswersAboutOthers) {
  auto allowed = [&](const char* spec) {
    return Ask("authorization.k8s.io/v1/subjectaccessreviews",
               std::string(R"({"spec":{"resourceAttributes":{"verb":"list",
               "resource":"pods"},)") + spec + "}}")
        .json()["status"]["allowed"];
  };
  EXPECT_EQ(allowed(R"("user":"ann")"), false);
  EXPECT_EQ(allowed(R"("user":"ann","groups":["system:masters"])"), true);
}

TEST_F(ReviewsTest, ActingForOthersNeedsARight) {
  // The impersonated has no right to impersonate: the sender's counts.
  Answer headless = Do("GET", "/api/v1/nodes", "",
                       {{"Impersonate-Group", "system:masters"}});
  EXPECT_EQ(headless.status, 500) << headless.body;
  Answer anonymous = Ask(kSelf, "{}", {{"Impersonate-User",
                                        "system:anonymous"}});
  EXPECT_EQ(anonymous.status, 403);
  EXPECT_EQ(anonymous.json()["message"],
            "selfsubjectreviews.authentication.k8s.io is forbidden: User "
            "\"system:anonymous\" cannot create resource "
            "\"selfsubjectreviews\" in API group \"authentication.k8s.io\" "
            "at the cluster scope");
}

TEST_F(ReviewsTest, NothingIsStored) {
  for (const char* method : {"GET", "PUT", "DELETE", "PATCH"}) {
    EXPECT_EQ(Do(method, std::string("/apis/") + kSelf).status, 405) << method;
    EXPECT_EQ(Do(method, std::string("/apis/") + kSelf + "/x").status, 405);
  }
  Answer wrong = Ask(kAccess, R"({"kind":"Pod","apiVersion":"v1"})");
  EXPECT_EQ(wrong.status, 400) << wrong.body;
}

TEST_F(ReviewsTest, OthersMayNothing) {
  struct Row {
    const char* method;
    const char* path;
    const char* message;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"GET", "/api/v1/namespaces/default/pods",
            "pods is forbidden: User \"viewer\" cannot list resource "
            "\"pods\" in API group \"\" in the namespace \"default\""},
           {"GET", "/api/v1/nodes?watch=1",
            "nodes is forbidden: User \"viewer\" cannot watch resource "
            "\"nodes\" in API group \"\" at the cluster scope"},
           {"POST", "/apis/apps/v1/namespaces/err/deployments",
            "deployments.apps is forbidden: User \"viewer\" cannot create "
            "resource \"deployments\" in API group \"apps\" in the namespace "
            "\"err\""},
           {"PATCH", "/apis/apps/v1/namespaces/err/deployments/d/scale",
            "deployments.apps \"d\" is forbidden: User \"viewer\" cannot "
            "patch resource \"deployments/scale\" in API group \"apps\" in "
            "the namespace \"err\""}}) {
    Answer answer = Do(row.method, row.path, "",
                       {{"Impersonate-User", "viewer"}});
    EXPECT_EQ(answer.status, 403);
    EXPECT_EQ(answer.json()["message"], row.message);
    // A watch that may is open until its end.
    if (std::string_view(row.path).find("watch") != std::string_view::npos) {
      continue;
    }
    Answer master = Do(row.method, row.path, "",
                       {{"Impersonate-User", "root"},
                        {"Impersonate-Group", "system:masters"}});
    EXPECT_NE(master.status, 403) << row.path;
  }
}

}  // namespace
}  // namespace fairlead::api
