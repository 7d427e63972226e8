// SPDX-License-Identifier: Apache-2.0
// The server over TLS: who is let in, as whom, and who is not.
#include <gmock/gmock.h>

#include "absl/time/clock.h"
#include "control/api/kinds.h"
#include "tests/unit/api_fixture.h"
#include "userspace/kube/http_transport.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/jwt.h"

namespace fairlead::api {
namespace {

using testing::HasSubstr;

constexpr char kPods[] = "/api/v1/namespaces/default/pods";
constexpr char kSelf[] = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
constexpr char kAccounts[] = "/api/v1/namespaces/default/serviceaccounts";
constexpr char kRbacPath[] = "/apis/rbac.authorization.k8s.io/v1/";
constexpr char kIssuer[] = "https://kubernetes.default.svc.cluster.local";

class IdentityTest : public ApiServerTest {
 protected:
  IdentityTest() : authority_(Open("pki")) {
    kinds_ = MakeKindTable();
    ServerOptions options;
    options.client_authority = authority_.certificate();
    options.token_key = authority_.token_key();
    Start(options);
    auto serving = authority_.IssueServer("kube-apiserver", {"localhost"},
                                          {*IpAddress::Parse("127.0.0.1")},
                                          absl::Now());
    auto context =
        pki::MakeServerContext(*serving, authority_.certificate());
    EXPECT_TRUE(context.ok()) << context.status();
    auto listened = server_->Listen(*ListenAddress::Parse("127.0.0.1:0"),
                                    [context = *context] { return context; });
    EXPECT_TRUE(listened.ok()) << listened;
  }

  pki::Authority Open(const std::string& name) {
    auto authority =
        pki::Authority::Open(folder_.path() + "/" + name, absl::Now());
    EXPECT_TRUE(authority.ok()) << authority.status();
    return *std::move(authority);
  }

  // A client of this server that shows nothing yet.
  kube::ApiServer Client() {
    kube::ApiServer client;
    client.url = "https://127.0.0.1:" + std::to_string(server_->ports()[0]);
    client.ca_pem = authority_.certificate().ToPem();
    return client;
  }
  kube::ApiServer ClientOf(const pki::Credential& credential) {
    kube::ApiServer client = Client();
    client.client_certificate_pem = credential.certificate_pem;
    client.client_key_pem = credential.key_pem;
    return client;
  }
  kube::ApiServer ClientNamed(const std::string& name,
                              std::vector<std::string> groups = {}) {
    return ClientOf(
        *authority_.IssueClient({name, std::move(groups)}, absl::Now()));
  }
  kube::ApiServer ClientWith(const std::string& token) {
    kube::ApiServer client = Client();
    client.bearer_token = token;
    return client;
  }

  // Status 0: no answer, and `body` says why.
  Answer Send(const kube::ApiServer& client, const std::string& method,
              const std::string& target, const std::string& body = "",
              kube::Headers headers = {}) {
    auto transport = kube::MakeHttpTransport(loop_.get(), client);
    EXPECT_TRUE(transport.ok()) << transport.status();
    headers.emplace_back("Content-Type", "application/json");
    Answer answer;
    bool done = false;
    auto call = (*transport)
                    ->Do({method, target, std::move(headers), body},
                         [&](absl::StatusOr<kube::Response> response) {
                           done = true;
                           if (response.ok()) {
                             answer = {response->status, response->headers,
                                       response->body};
                           } else {
                             answer.body = response.status().ToString();
                           }
                         });
    EXPECT_TRUE(RunUntil([&] { return done; }, absl::Seconds(60)));
    return answer;
  }
  Json WhoAmI(const kube::ApiServer& client) {
    return Send(client, "POST", kSelf, "{}").json()["status"]["userInfo"];
  }

  // A token of default/robot, which is made if it isn't there.
  std::string Token(const std::string& request = "{}") {
    Do("POST", kAccounts, R"({"metadata":{"name":"robot"}})", kJson);
    Answer answer = Do("POST", std::string(kAccounts) + "/robot/token",
                       request, kJson);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return answer.json()["status"]["token"];
  }
  // Claims that are right, to be made wrong.
  Json Claims() {
    auto claims = pki::VerifyJwt(Token(), authority_.token_key());
    EXPECT_TRUE(claims.ok());
    return *claims;
  }
  std::string Signed(const Json& claims) {
    return *pki::SignJwt(claims, authority_.token_key());
  }

  const kube::Headers kJson = {{"Content-Type", "application/json"}};
  pki::Authority authority_;
};

TEST_F(IdentityTest, ACertificateIsAUser) {
  EXPECT_EQ(WhoAmI(ClientNamed("ann", {"ops", "dev"})),
            (Json{{"username", "ann"},
                  {"groups", {"ops", "dev", "system:authenticated"}}}));
  EXPECT_EQ(Send(ClientNamed("ann"), "GET", kPods).status, 403);
  EXPECT_EQ(Send(ClientNamed("root", {"system:masters"}), "GET", kPods).status,
            200);
}

// Fairlead's kubelet sets the routes to the pods of all nodes.
TEST_F(IdentityTest, ANodeReadsAllNodesAndWritesItsOwn) {
  const kube::ApiServer node =
      ClientNamed("system:node:n1", {"system:nodes"});
  EXPECT_EQ(Send(node, "GET", "/api/v1/nodes").status, 200);
  EXPECT_EQ(Send(ClientNamed("ann"), "GET", "/api/v1/nodes").status, 403);
  Answer answer = Send(node, "PUT", "/api/v1/nodes/n2", "{}");
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.body, HasSubstr("not allowed to modify node 'n2'"));
}

TEST_F(IdentityTest, NobodyMayLittle) {
  Answer answer = Send(Client(), "GET", kPods);
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.json(),
            Json::parse(R"({"kind":"Status","apiVersion":"v1","metadata":{},
              "status":"Failure","message":"pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
              "reason":"Forbidden","details":{"kind":"pods"},"code":403})"));
  EXPECT_EQ(Send(Client(), "GET", "/version").status, 200);
  EXPECT_EQ(Send(Client(), "GET", "/healthz").status, 200);
  Answer metrics = Send(Client(), "GET", "/metrics");
  EXPECT_EQ(metrics.json()["message"],
            "forbidden: User \"system:anonymous\" cannot get path "
            "\"/metrics\"");
  // What is not there is not told to those who may not know.
  EXPECT_EQ(Send(Client(), "GET", "/apis/x.io/v1/things").status, 403);
}

TEST_F(IdentityTest, BadCertificatesAre401) {
  const Json unauthorized = Json::parse(R"({"kind":"Status","apiVersion":"v1",
    "metadata":{},"status":"Failure","message":"Unauthorized",
    "reason":"Unauthorized","code":401})");
  const absl::Time now = absl::Now();
  const pki::Authority other = Open("other");
  auto serving = authority_.IssueServer("admin", {"admin"}, {}, now);
  for (const pki::Credential& credential :
       {*authority_.IssueClient({"root", {"system:masters"}},
                                now - pki::kLeafLife - absl::Hours(1)),
        *authority_.IssueClient({"root", {"system:masters"}},
                                now + absl::Hours(1)),
        *other.IssueClient({"root", {"system:masters"}}, now), *serving}) {
    Answer answer = Send(ClientOf(credential), "GET", "/version");
    EXPECT_EQ(answer.status, 401) << answer.body;
    EXPECT_EQ(answer.json(), unauthorized);
  }
  // A good token beside it is enough.
  kube::ApiServer both =
      ClientOf(*other.IssueClient({"root", {"system:masters"}}, now));
  both.bearer_token = Token();
  EXPECT_EQ(WhoAmI(both)["username"], "system:serviceaccount:default:robot");
}

TEST_F(IdentityTest, TheServerIsKnownByItsAuthority) {
  kube::ApiServer client = ClientNamed("root", {"system:masters"});
  client.ca_pem = Open("other").certificate().ToPem();
  Answer answer = Send(client, "GET", "/version");
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.body, HasSubstr("certificate is refused"));
}

TEST_F(IdentityTest, ATokenIsAServiceAccount) {
  const Json user = WhoAmI(ClientWith(Token()));
  EXPECT_EQ(user["username"], "system:serviceaccount:default:robot");
  EXPECT_EQ(user["groups"],
            Json({"system:serviceaccounts", "system:serviceaccounts:default",
                  "system:authenticated"}));
  Do("POST", std::string(kRbacPath) + "namespaces/default/roles",
     R"({"metadata":{"name":"reader"},"rules":[{"verbs":["list"],
        "apiGroups":[""],"resources":["pods"]}]})", kJson);
  Answer bound = Do(
      "POST", std::string(kRbacPath) + "namespaces/default/rolebindings",
      R"({"metadata":{"name":"reader"},
         "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role",
                    "name":"reader"},
         "subjects":[{"kind":"ServiceAccount","name":"robot",
                      "namespace":"default"}]})", kJson);
  EXPECT_EQ(bound.status, 201) << bound.body;
  EXPECT_EQ(Send(ClientWith(Token()), "GET", kPods).status, 200);
  EXPECT_EQ(Send(ClientWith(Token()), "GET", kAccounts).status, 403);
  // The rights go with the binding.
  Do("DELETE",
     std::string(kRbacPath) + "namespaces/default/rolebindings/reader");
  EXPECT_EQ(Send(ClientWith(Token()), "GET", kPods).status, 403);
}

TEST_F(IdentityTest, BadTokensAre401) {
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  EXPECT_EQ(WhoAmI(ClientWith(Signed(Claims())))["username"],
            "system:serviceaccount:default:robot");
  auto wrong = [&](const char* claim, const Json& value) {
    Json claims = Claims();
    claims[claim] = value;
    return Signed(claims);
  };
  auto wrong_account = [&](const char* field, const char* value) {
    Json claims = Claims();
    claims["kubernetes.io"]["serviceaccount"][field] = value;
    return Signed(claims);
  };
  const std::string good = Signed(Claims());
  for (const std::string& token :
       {std::string("garbage"), good.substr(0, good.rfind('.') + 1),
        std::string("eyJhbGciOiJub25lIn0") +
            good.substr(good.find('.'), good.rfind('.') + 1 - good.find('.')),
        *pki::SignJwt(Claims(), *pki::Key::Generate()),
        wrong("exp", now - 1), wrong("exp", "later"),
        wrong("nbf", now + 3600), wrong("iss", "https://elsewhere"),
        wrong("aud", Json::array({"vault"})), wrong("aud", kIssuer),
        wrong("kubernetes.io", nullptr), wrong_account("name", "nobody"),
        wrong_account("uid", "another"), wrong_account("uid", "")}) {
    EXPECT_EQ(Send(ClientWith(token), "GET", "/version").status, 401) << token;
  }
}

TEST_F(IdentityTest, ATokenDiesWithItsAccountAndItsPod) {
  Do("POST", kPods, R"({"metadata":{"name":"p"},"spec":{
     "serviceAccountName":"robot",
     "containers":[{"name":"c","image":"i"}]}})", kJson);
  const std::string free = Token();
  const std::string bound = Token(R"({"spec":{"boundObjectRef":
      {"kind":"Pod","apiVersion":"v1","name":"p"}}})");
  EXPECT_EQ(WhoAmI(ClientWith(bound))["extra"]
                  ["authentication.kubernetes.io/pod-name"],
            Json::array({"p"}));
  EXPECT_EQ(
      Do("DELETE", std::string(kPods) + "/p?gracePeriodSeconds=0").status,
      200);
  EXPECT_EQ(Send(ClientWith(bound), "GET", "/version").status, 401);
  EXPECT_EQ(Send(ClientWith(free), "GET", "/version").status, 200);
  Do("DELETE", std::string(kAccounts) + "/robot");
  EXPECT_EQ(Send(ClientWith(free), "GET", "/version").status, 401);
  // One of the same name is another.
  Token();
  EXPECT_EQ(Send(ClientWith(free), "GET", "/version").status, 401);
}

TEST_F(IdentityTest, TokenRequestsSayWhatIsWrong) {
  Token();
  auto ask = [&](const std::string& name, const std::string& spec) {
    return Do("POST", std::string(kAccounts) + "/" + name + "/token",
              R"({"spec":)" + spec + "}", kJson);
  };
  EXPECT_EQ(ask("nobody", "{}").status, 404);
  // kubectl/create-token.
  Json made = ask("robot", R"({"expirationSeconds":600})").json();
  EXPECT_FALSE(made["metadata"].value("uid", "").empty()) << made;
  EXPECT_EQ(made["metadata"]["managedFields"][0]["subresource"], "token");
  EXPECT_EQ(made["metadata"]["managedFields"][0]["fieldsV1"],
            Json::parse(R"({"f:spec":{"f:expirationSeconds":{}}})"));
  Answer brief = ask("robot", R"({"expirationSeconds":5})");
  EXPECT_EQ(brief.status, 422);
  EXPECT_THAT(brief.json()["message"].get<std::string>(),
              HasSubstr("spec.expirationSeconds: Invalid value: 5: may not "
                        "specify a duration less than 10 minutes"));
  EXPECT_EQ(ask("robot", R"({"boundObjectRef":{"kind":"Pod",
                 "apiVersion":"v1","name":"none"}})").status, 404);
  EXPECT_EQ(ask("robot", R"({"boundObjectRef":{"kind":"Service",
                 "apiVersion":"v1","name":"kubernetes"}})").status, 400);
  EXPECT_EQ(Do("GET", std::string(kAccounts) + "/robot/token").status, 405);
}

TEST_F(IdentityTest, NobodyGivesRightsAwayThatTheyLack) {
  // ann may write roles and bindings, and read pods.
  const std::string all = kRbacPath;
  Do("POST", all + "clusterroles",
     R"({"metadata":{"name":"ann"},"rules":[
        {"verbs":["*"],"apiGroups":["rbac.authorization.k8s.io"],
         "resources":["roles","rolebindings","clusterroles"]},
        {"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}]})",
     kJson);
  Do("POST", all + "clusterrolebindings",
     R"({"metadata":{"name":"ann"},"roleRef":{"kind":"ClusterRole",
        "apiGroup":"rbac.authorization.k8s.io","name":"ann"},
        "subjects":[{"kind":"User","name":"ann",
                     "apiGroup":"rbac.authorization.k8s.io"}]})", kJson);
  // "*" as verb holds "escalate" and "bind" too; so not that.
  Do("PATCH", all + "clusterroles/ann",
     R"([{"op":"replace","path":"/rules/0/verbs",
          "value":["create","get","patch","update"]}])",
     {{"Content-Type", "application/json-patch+json"}});
  const kube::ApiServer ann = ClientNamed("ann");
  const std::string roles = all + "namespaces/default/roles";
  const std::string bindings = all + "namespaces/default/rolebindings";
  auto role = [](const char* name, const char* verbs) {
    return std::string(R"({"metadata":{"name":")") + name +
           R"("},"rules":[{"verbs":)" + verbs +
           R"(,"apiGroups":[""],"resources":["pods"]}]})";
  };
  EXPECT_EQ(Send(ann, "POST", roles, role("r", R"(["get"])")).status, 201);
  Answer more = Send(ann, "POST", roles, role("w", R"(["get","delete"])"));
  EXPECT_EQ(more.status, 403);
  EXPECT_EQ(more.json()["message"],
            "roles.rbac.authorization.k8s.io \"w\" is forbidden: user \"ann\" "
            "(groups=[\"system:authenticated\"]) is attempting to grant RBAC "
            "permissions not currently held:\n{APIGroups:[\"\"], "
            "Resources:[\"pods\"], Verbs:[\"delete\"]}");
  EXPECT_EQ(Send(ann, "PUT", roles + "/r", role("r", R"(["*"])")).status, 403);
  auto binding = [](const char* kind, const char* name) {
    return std::string(R"({"metadata":{"name":")") + name +
           R"("},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":")" +
           kind + R"(","name":")" + name +
           R"("},"subjects":[{"kind":"User","name":"eve",
              "apiGroup":"rbac.authorization.k8s.io"}]})";
  };
  EXPECT_EQ(Send(ann, "POST", bindings, binding("Role", "r")).status, 201);
  EXPECT_EQ(Send(ann, "POST", bindings, binding("ClusterRole",
                                                "cluster-admin")).status, 403);
  // Not even one that is still to come.
  EXPECT_EQ(Send(ann, "POST", bindings, binding("Role", "later")).status, 404);
  EXPECT_EQ(Send(ann, "GET", bindings + "/cluster-admin").status, 404);
  // Acting for somebody else is a right as well.
  Answer other = Send(ann, "GET", kPods, "", {{"Impersonate-User", "root"}});
  EXPECT_EQ(other.status, 403);
  EXPECT_EQ(other.json()["message"],
            "users \"root\" is forbidden: User \"ann\" cannot impersonate "
            "resource \"users\" in API group \"\" at the cluster scope");
}

TEST_F(IdentityTest, ANodeWritesItself) {
  const kube::ApiServer node = ClientNamed("system:node:n1", {"system:nodes"});
  auto body = [](const char* name) {
    return std::string(R"({"metadata":{"name":")") + name + "\"}}";
  };
  EXPECT_EQ(Send(node, "POST", "/api/v1/nodes", body("n1")).status, 201);
  Answer other = Send(node, "POST", "/api/v1/nodes", body("n2"));
  EXPECT_EQ(other.status, 403);
  EXPECT_EQ(other.json()["message"],
            "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify "
            "node \"n2\"");
  Do("POST", "/api/v1/namespaces/default/secrets", body("s"), kJson);
  Do("POST", "/api/v1/namespaces/default/secrets", body("t"), kJson);
  const std::string secret = "/api/v1/namespaces/default/secrets/";
  EXPECT_EQ(Send(node, "GET", secret + "s").status, 403);
  Do("POST", kPods, R"({"metadata":{"name":"p"},"spec":{"nodeName":"n1",
     "volumes":[{"name":"v","secret":{"secretName":"s"}}],
     "containers":[{"name":"c","image":"i"}]}})", kJson);
  EXPECT_EQ(Send(node, "GET", secret + "s").status, 200);
  // Tokens for its pod's account alone, and bound to the pod.
  const std::string token =
      std::string(kAccounts) + "/default/token";
  Do("POST", kAccounts, body("default"), kJson);
  Do("POST", kPods, R"({"metadata":{"name":"q"},"spec":{"nodeName":"n1",
     "serviceAccountName":"default",
     "containers":[{"name":"c","image":"i"}]}})", kJson);
  EXPECT_EQ(Send(node, "POST", std::string(kAccounts) + "/robot/token", "{}")
                .status, 403);
  EXPECT_THAT(Send(node, "POST", token, "{}").body,
              HasSubstr("node requested token not bound to a pod"));
  EXPECT_EQ(Send(node, "POST", token, R"({"spec":{"boundObjectRef":
      {"kind":"Pod","apiVersion":"v1","name":"q"}}})").status, 201);
  Answer t = Send(node, "GET", secret + "t");
  EXPECT_EQ(t.json()["message"],
            "secrets \"t\" is forbidden: User \"system:node:n1\" cannot get "
            "resource \"secrets\" in API group \"\" in the namespace "
            "\"default\": no relationship found between node 'n1' and this "
            "object");
}

}  // namespace
}  // namespace fairlead::api
