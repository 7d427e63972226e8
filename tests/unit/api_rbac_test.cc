// SPDX-License-Identifier: Apache-2.0
// What rules allow, whom bindings bind, what a node may: tables of cases on
// the pure parts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/api/authorization.h"
#include "control/api/kinds.h"
#include "control/api/node_pods.h"
#include "control/api/rbac_kinds.h"
#include "control/api/route.h"

namespace fairlead::api {
namespace {

// "list pods.apps/status in ns/name"-like cases are written as requests.
Attributes Asked(const char* method, const std::string& target) {
  const size_t question = target.find('?');
  const std::string path = target.substr(0, question);
  return AttributesOf(
      method, path, *PathSegments(path),
      Query::Parse(question == target.npos ? "" : target.substr(question + 1)));
}

TEST(AttributesTest, AreReadFromMethodAndPath) {
  struct Row {
    const char* method;
    const char* target;
    const char* verb;
    const char* group;
    const char* resource;  // with its sub-resource
    const char* ns;
    const char* name;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"GET", "/api/v1/pods", "list", "", "pods", "", ""},
           {"GET", "/api/v1/pods?watch=1", "watch", "", "pods", "", ""},
           {"GET", "/api/v1/namespaces/a/pods/p", "get", "", "pods", "a", "p"},
           {"GET", "/api/v1/namespaces/a/pods/p/log", "get", "", "pods/log",
            "a", "p"},
           {"POST", "/apis/apps/v1/namespaces/a/deployments", "create", "apps",
            "deployments", "a", ""},
           {"PUT", "/api/v1/nodes/n/status", "update", "", "nodes/status", "",
            "n"},
           {"PATCH", "/api/v1/namespaces/a", "patch", "", "namespaces", "a",
            "a"},
           {"PUT", "/api/v1/namespaces/a/finalize", "update", "",
            "namespaces/finalize", "a", "a"},
           {"GET", "/api/v1/namespaces", "list", "", "namespaces", "", ""},
           {"DELETE", "/api/v1/namespaces/a/pods", "deletecollection", "",
            "pods", "a", ""},
           {"GET", "/api/v1/namespaces/a/secrets?fieldSelector="
                   "metadata.name%3Ds", "list", "", "secrets", "a", "s"},
           // Nothing that is served; it is a resource all the same.
           {"GET", "/apis/x.io/v1/things/t", "get", "x.io", "things", "",
            "t"}}) {
    const Attributes what = Asked(row.method, row.target);
    EXPECT_TRUE(what.is_resource) << row.target;
    EXPECT_EQ(what.verb, row.verb) << row.target;
    EXPECT_EQ(what.group, row.group) << row.target;
    EXPECT_EQ(what.resource +
                  (what.subresource.empty() ? "" : "/" + what.subresource),
              row.resource);
    EXPECT_EQ(what.ns, row.ns) << row.target;
    EXPECT_EQ(what.name, row.name) << row.target;
  }
  for (const char* path : {"/", "/healthz", "/api", "/api/v1", "/apis/apps/v1",
                           "/openapi/v3"}) {
    const Attributes what = Asked("GET", path);
    EXPECT_FALSE(what.is_resource) << path;
    EXPECT_EQ(what.path, path);
    EXPECT_EQ(what.verb, "get");
  }
}

TEST(RbacTest, RulesAllow) {
  struct Row {
    PolicyRule rule;
    const char* method;
    const char* target;
    bool allowed;
  };
  const PolicyRule pods{{"get", "list"}, {""}, {"pods"}, {}, {}};
  const PolicyRule named{{"get"}, {""}, {"secrets"}, {"a", "b"}, {}};
  const PolicyRule logs{{"*"}, {""}, {"pods/log"}, {}, {}};
  const PolicyRule any_status{{"*"}, {"*"}, {"*/status"}, {}, {}};
  const PolicyRule all{{"*"}, {"*"}, {"*"}, {}, {}};
  const PolicyRule urls{{"get"}, {}, {}, {}, {"/healthz", "/apis/*"}};
  const std::string ns = "/api/v1/namespaces/x/";
  for (const Row& row : std::vector<Row>{
           {pods, "GET", "/api/v1/pods", true},
           {pods, "GET", "/api/v1/pods?watch=1", false},
           {pods, "DELETE", "/api/v1/namespaces/x/pods/p", false},
           {pods, "GET", "/api/v1/namespaces/x/pods/p/log", false},
           {pods, "GET", "/apis/apps/v1/pods", false},
           {pods, "GET", "/api/v1/services", false},
           {named, "GET", "/api/v1/namespaces/x/secrets/a", true},
           {named, "GET", "/api/v1/namespaces/x/secrets/c", false},
           {named, "GET", "/api/v1/namespaces/x/secrets", false},
           {logs, "GET", "/api/v1/namespaces/x/pods/p/log", true},
           {logs, "GET", "/api/v1/namespaces/x/pods/p", false},
           {any_status, "PUT", "/api/v1/nodes/n/status", true},
           {any_status, "PUT", "/api/v1/nodes/n", false},
           {all, "DELETE", "/api/v1/namespaces/x/pods/p/exec", true},
           {all, "GET", "/metrics", false},
           {urls, "GET", "/healthz", true},
           {urls, "POST", "/healthz", false},
           {urls, "GET", "/healthz/x", false},
           {urls, "GET", "/apis/apps", true},
           {urls, "GET", "/api/v1/pods", false}}) {
    EXPECT_EQ(Allows(row.rule, Asked(row.method, row.target)), row.allowed)
        << RuleText(row.rule) << " " << row.method << " " << row.target;
  }
}

TEST(RbacTest, RulesCover) {
  const PolicyRule all{{"*"}, {"*"}, {"*"}, {}, {}};
  const PolicyRule pods{{"get", "list"}, {""}, {"pods", "pods/log"}, {}, {}};
  const PolicyRule one{{"get"}, {""}, {"pods"}, {"p"}, {}};
  const PolicyRule urls{{"get"}, {}, {}, {}, {"/apis/*"}};
  EXPECT_TRUE(Covers({all}, pods));
  EXPECT_FALSE(Covers({pods}, all));
  EXPECT_TRUE(Covers({pods}, one));
  EXPECT_FALSE(Covers({one}, pods));
  EXPECT_FALSE(Covers({all}, urls));
  EXPECT_TRUE(Covers({urls}, {{"get"}, {}, {}, {}, {"/apis/apps"}}));
  // Two rules together.
  EXPECT_TRUE(Covers({{{"get"}, {""}, {"pods", "pods/log"}, {}, {}},
                      {{"list"}, {""}, {"*"}, {}, {}}},
                     pods));
}

Json Role(const char* kind, const char* ns, const char* name, Json rules) {
  Json role = {{"kind", kind},
               {"metadata", {{"name", name}}},
               {"rules", std::move(rules)}};
  if (*ns != '\0') role["metadata"]["namespace"] = ns;
  return role;
}
Json Binding(const char* ns, const char* name, const char* role_kind,
             const char* role, Json subjects) {
  Json binding = {
      {"kind", *ns == '\0' ? "ClusterRoleBinding" : "RoleBinding"},
      {"metadata", {{"name", name}}},
      {"subjects", std::move(subjects)},
      {"roleRef", {{"kind", role_kind}, {"name", role}}}};
  if (*ns != '\0') binding["metadata"]["namespace"] = ns;
  return binding;
}
const Json kReadPods = {{{"verbs", {"get", "list"}},
                         {"apiGroups", Json::array({""})},
                         {"resources", Json::array({"pods"})}}};

class BoundTest : public testing::Test {
 protected:
  BoundTest() {
    rbac_.Put(Role("Role", "a", "reader", kReadPods));
    rbac_.Put(Role("ClusterRole", "", "reader", kReadPods));
  }
  bool May(const User& user, const std::string& target) {
    return rbac_.Authorize(user, Asked("GET", target)).allowed;
  }
  const User ann_{"ann", "", {"dev", "system:authenticated"}, {}};
  const User robot_ = ServiceAccountUser("a", "robot", "1");
  Rbac rbac_;
};

TEST_F(BoundTest, BindingsBind) {
  struct Row {
    const char* ns;
    const char* role_kind;
    Json subject;
    const User& user;
    const char* target;
    bool allowed;
  };
  const Json ann = {{"kind", "User"}, {"name", "ann"}};
  const Json dev = {{"kind", "Group"}, {"name", "dev"}};
  const Json robot = {
      {"kind", "ServiceAccount"}, {"name", "robot"}, {"namespace", "a"}};
  const Json other = {
      {"kind", "ServiceAccount"}, {"name", "robot"}, {"namespace", "b"}};
  const Json as_user = {{"kind", "User"},
                        {"name", "system:serviceaccount:a:robot"}};
  const char* in_a = "/api/v1/namespaces/a/pods";
  const char* in_b = "/api/v1/namespaces/b/pods";
  const char* all = "/api/v1/pods";
  for (const Row& row : std::initializer_list<Row>{
           {"a", "Role", ann, ann_, in_a, true},
           {"a", "Role", ann, ann_, in_b, false},
           {"a", "Role", ann, ann_, all, false},
           {"b", "Role", ann, ann_, in_b, false},  // no such role there
           {"b", "ClusterRole", ann, ann_, in_b, true},
           {"b", "ClusterRole", ann, ann_, in_a, false},
           {"", "ClusterRole", ann, ann_, all, true},
           {"", "ClusterRole", dev, ann_, in_b, true},
           {"a", "Role", dev, robot_, in_a, false},
           {"a", "Role", robot, robot_, in_a, true},
           {"a", "Role", other, robot_, in_a, false},
           {"a", "Role", as_user, robot_, in_a, true}}) {
    const Json binding = Binding(row.ns, "b", row.role_kind, "reader",
                                 Json::array({row.subject}));
    rbac_.Put(binding);
    EXPECT_EQ(May(row.user, row.target), row.allowed)
        << binding.dump() << " " << row.target;
    rbac_.Remove(binding);
    EXPECT_FALSE(May(row.user, row.target));
  }
}

TEST_F(BoundTest, AggregationTakesWhatItsLabelsSelectAndEnds) {
  Json round = Role("ClusterRole", "", "round", Json::array());
  round["metadata"]["labels"] = {{"to", "round"}};
  round["aggregationRule"]["clusterRoleSelectors"] =
      Json::array({{{"matchLabels", {{"to", "round"}}}}});
  rbac_.Put(round);
  rbac_.Put(Binding("", "b", "ClusterRole", "round",
                    Json::array({{{"kind", "User"}, {"name", "ann"}}})));
  EXPECT_FALSE(May(ann_, "/api/v1/pods"));
  Json part = Role("ClusterRole", "", "part", kReadPods);
  part["metadata"]["labels"] = {{"to", "round"}};
  rbac_.Put(part);
  EXPECT_TRUE(May(ann_, "/api/v1/pods"));
  rbac_.Remove(part);
  EXPECT_FALSE(May(ann_, "/api/v1/pods"));
  // What a controller wrote there is for people to read.
  round["rules"] = kReadPods;
  rbac_.Put(round);
  EXPECT_FALSE(May(ann_, "/api/v1/pods"));
}

TEST(DefaultRolesTest, DoWhatTheirNamesSay) {
  Rbac rbac;
  for (const Json& object : DefaultRoles()) rbac.Put(object);
  for (const char* role : {"view", "edit", "admin"}) {
    rbac.Put(Binding("a", role, "ClusterRole", role,
                     Json::array({{{"kind", "User"}, {"name", role}}})));
  }
  struct Row {
    const char* user;
    const char* method;
    const char* target;
    bool allowed;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"view", "GET", "/api/v1/namespaces/a/pods", true},
           {"view", "GET", "/api/v1/namespaces/a/pods/p/log", true},
           {"view", "GET", "/api/v1/namespaces/a/secrets", false},
           {"view", "POST", "/api/v1/namespaces/a/pods", false},
           {"edit", "GET", "/api/v1/namespaces/a/pods", true},
           {"edit", "GET", "/api/v1/namespaces/a/secrets", true},
           {"edit", "POST", "/apis/apps/v1/namespaces/a/deployments", true},
           {"edit", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/a/"
                            "roles", false},
           {"admin", "GET", "/api/v1/namespaces/a/pods", true},
           {"admin", "POST", "/api/v1/namespaces/a/services", true},
           {"admin", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/a/"
                             "roles", true},
           {"admin", "GET", "/api/v1/namespaces/b/pods", false},
           {"admin", "GET", "/api/v1/nodes", false},
           {"system:kube-proxy", "GET", "/api/v1/services?watch=1", true},
           {"system:kube-proxy", "GET", "/api/v1/nodes/n", true},
           {"system:kube-proxy", "GET",
            "/apis/networking.k8s.io/v1/servicecidrs?watch=1", true},
           {"system:kube-proxy", "GET",
            "/apis/networking.k8s.io/v1/networkpolicies", false},
           {"system:kube-proxy", "POST",
            "/apis/events.k8s.io/v1/namespaces/a/events", true},
           {"system:kube-proxy", "GET", "/api/v1/secrets", false},
           {"system:kube-proxy", "DELETE", "/api/v1/namespaces/a/services/s",
            false},
           {"system:serviceaccount:kube-system:namespace-controller", "DELETE",
            "/apis/apps/v1/namespaces/a/deployments", true},
           {"system:serviceaccount:kube-system:namespace-controller", "POST",
            "/apis/apps/v1/namespaces/a/deployments", false},
           {"system:serviceaccount:a:namespace-controller", "DELETE",
            "/apis/apps/v1/namespaces/a/deployments", false},
           {"system:serviceaccount:kube-system:disruption-controller", "GET",
            "/apis/apps/v1/namespaces/a/deployments/d/scale", true},
           {"system:serviceaccount:kube-system:disruption-controller", "PUT",
            "/apis/apps/v1/namespaces/a/deployments/d/scale", false},
           {"system:kube-scheduler", "GET",
            "/api/v1/namespaces/kube-system/configmaps/"
            "extension-apiserver-authentication", true},
           {"system:kube-scheduler", "GET",
            "/api/v1/namespaces/kube-system/configmaps/other", false},
           {"system:kube-scheduler", "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?watch=1",
            true},
           {"system:serviceaccount:kube-system:bootstrap-signer", "PUT",
            "/api/v1/namespaces/kube-public/configmaps/cluster-info", true},
           {"system:serviceaccount:kube-system:bootstrap-signer", "PUT",
            "/api/v1/namespaces/kube-system/configmaps/cluster-info", false},
           {"system:serviceaccount:kube-system:bootstrap-signer", "GET",
            "/api/v1/namespaces/kube-system/secrets", true},
           {"system:serviceaccount:kube-system:bootstrap-signer", "GET",
            "/api/v1/namespaces/kube-public/secrets", false},
           {"system:serviceaccount:kube-system:token-cleaner", "DELETE",
            "/api/v1/namespaces/kube-system/secrets/s", true},
           {"system:serviceaccount:kube-system:kube-dns", "GET",
            "/api/v1/services?watch=1", true}}) {
    EXPECT_EQ(rbac.Authorize({row.user, "", {}, {}},
                             Asked(row.method, row.target))
                  .allowed,
              row.allowed)
        << row.user << " " << row.method << " " << row.target;
  }
  const User nobody = Anonymous();
  EXPECT_TRUE(rbac.Authorize(nobody, Asked("GET", "/healthz")).allowed);
  EXPECT_TRUE(rbac.Authorize(nobody, Asked("GET", "/version")).allowed);
  EXPECT_FALSE(rbac.Authorize(nobody, Asked("GET", "/apis")).allowed);
  EXPECT_FALSE(rbac.Authorize(nobody, Asked("GET", "/metrics")).allowed);
}

// One pod, a/p, on node n: it mentions secret s and account robot.
class OnePod : public NodePods {
 public:
  bool IsOn(std::string_view node, std::string_view ns,
            std::string_view pod) const override {
    return node == "n" && ns == "a" && pod == "p";
  }
  bool Mention(std::string_view node, std::string_view resource,
               std::string_view ns, std::string_view name) const override {
    return node == "n" && ns == "a" &&
           ((resource == "secrets" && name == "s") ||
            (resource == "serviceaccounts" && name == "robot"));
  }
};

TEST(NodeAuthorizationTest, ANodeHasItsOwnOnly) {
  const OnePod pods;
  struct Row {
    const char* method;
    const char* target;
    bool allowed;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"GET", "/api/v1/namespaces/a/secrets/s", true},
           {"GET", "/api/v1/namespaces/a/secrets/t", false},
           {"GET", "/api/v1/namespaces/b/secrets/s", false},
           {"GET", "/api/v1/namespaces/a/secrets", false},
           {"GET", "/api/v1/secrets", false},
           {"GET", "/api/v1/namespaces/a/secrets?watch=1&fieldSelector="
                   "metadata.name%3Ds", true},
           {"PUT", "/api/v1/namespaces/a/secrets/s", false},
           {"GET", "/api/v1/namespaces/a/configmaps/s", false},
           {"POST", "/api/v1/namespaces/a/serviceaccounts/robot/token", true},
           {"POST", "/api/v1/namespaces/a/serviceaccounts/other/token", false},
           {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn", true},
           {"GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn",
            true},
           {"GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dm", false},
           {"GET", "/api/v1/pods?fieldSelector=spec.nodeName!%3Dn", false},
           {"GET", "/api/v1/pods", false},
           {"GET", "/api/v1/namespaces/a/pods/p", true},
           {"PATCH", "/api/v1/namespaces/a/pods/p/status", true},
           {"PATCH", "/api/v1/namespaces/a/pods/q/status", false},
           {"DELETE", "/api/v1/namespaces/a/pods/p", true},
           {"DELETE", "/api/v1/namespaces/a/pods/q", false},
           {"PUT", "/api/v1/namespaces/a/pods/p", false},
           {"POST", "/api/v1/namespaces/a/pods", false},
           {"GET", "/api/v1/nodes/n", true},
           {"GET", "/api/v1/nodes/m", false},
           {"PATCH", "/api/v1/nodes/n/status", true},
           {"PATCH", "/api/v1/nodes/m/status", false},
           {"DELETE", "/api/v1/nodes/n", false},
           {"PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/"
                   "leases/n", true},
           {"PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/"
                   "leases/m", false},
           {"PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/n",
            false},
           {"POST", "/api/v1/namespaces/a/events", true},
           {"GET", "/apis/apps/v1/deployments", false}}) {
    const auto decision =
        AuthorizeNode(pods, "n", Asked(row.method, row.target));
    EXPECT_EQ(decision && decision->allowed, row.allowed)
        << row.method << " " << row.target;
  }
  EXPECT_EQ(NodeOf({"system:node:n", "", {"system:nodes"}, {}}), "n");
  EXPECT_EQ(NodeOf({"system:node:n", "", {"system:authenticated"}, {}}), "");
  EXPECT_EQ(NodeOf({"n", "", {"system:nodes"}, {}}), "");
}

TEST(NodePodsTest, FindsWhatAPodNames) {
  const Json pod = Json::parse(R"({"spec":{
    "serviceAccountName":"robot",
    "imagePullSecrets":[{"name":"pull"}],
    "volumes":[{"secret":{"secretName":"vol"}},{"configMap":{"name":"cm"}},
      {"projected":{"sources":[{"secret":{"name":"proj"}},
                               {"configMap":{"name":"pcm"}}]}}],
    "containers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":"env"}}}],
                   "envFrom":[{"configMapRef":{"name":"from"}}]}],
    "initContainers":[{"envFrom":[{"secretRef":{"name":"init"}}]}]}})");
  for (const char* name : {"pull", "vol", "proj", "env", "init"}) {
    EXPECT_TRUE(Mentions(pod, "secrets", name)) << name;
    EXPECT_FALSE(Mentions(pod, "configmaps", name)) << name;
  }
  for (const char* name : {"cm", "pcm", "from", "kube-root-ca.crt"}) {
    EXPECT_TRUE(Mentions(pod, "configmaps", name)) << name;
    EXPECT_FALSE(Mentions(pod, "secrets", name)) << name;
  }
  EXPECT_TRUE(Mentions(pod, "serviceaccounts", "robot"));
  EXPECT_FALSE(Mentions(pod, "serviceaccounts", "other"));
  EXPECT_FALSE(Mentions(pod, "secrets", "other"));
}

}  // namespace
}  // namespace fairlead::api
