// SPDX-License-Identifier: Apache-2.0
// The roles and bindings of every cluster, as data: Kubernetes' own, cut to
// the kinds that are served here. They are made when they are missing and
// never changed again.
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "control/api/rbac.h"
#include "control/api/rbac_kinds.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// Lists of words; "core" is the API group without a name.
struct Rule {
  const char* verbs;
  const char* groups;
  const char* resources;  // or, without groups, paths
  const char* names = "";  // empty: all
};
struct RoleRow {
  const char* name;
  std::vector<Rule> rules;
  const char* added_to = "";  // the aggregated role that takes the rules
  const char* takes = "";     // the aggregation's own label
};
// A Role, and the binding that gives it to somebody.
struct LocalRow {
  const char* ns;
  const char* name;
  std::vector<Rule> rules;
  const char* binding;
  std::vector<const char*> users, accounts;  // the latter of kube-system
};
struct BindingRow {
  const char* role;
  const char* subject_kind;
  std::vector<const char*> subjects;
};

constexpr char kRead[] = "get list watch";
constexpr char kWrite[] = "create delete deletecollection patch update";
constexpr char kAll[] =
    "create delete deletecollection get list patch update watch";
constexpr char kEventGroups[] = "core events.k8s.io";
constexpr char kPublicUrls[] = "/healthz /livez /readyz /version /version/";
constexpr char kDiscoveryUrls[] =
    "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz "
    "/version /version/";

std::vector<RoleRow> UserRoles() {
  return {
      {"cluster-admin", {{"*", "*", "*"}, {"*", "", "*"}}},
      {"admin", {}, "", "admin"},
      {"edit", {}, "admin", "edit"},
      {"view", {}, "edit", "view"},
      {"system:aggregate-to-admin",
       {{kAll, kRbacGroup, "rolebindings roles"}},
       "admin"},
      {"system:aggregate-to-edit",
       {{kRead, "core", "pods/exec pods/portforward pods/proxy secrets"},
        {"impersonate", "core", "serviceaccounts"},
        {kWrite, "core",
         "pods pods/exec pods/portforward configmaps endpoints events secrets "
         "serviceaccounts services"},
        {"create", "core", "pods/eviction serviceaccounts/token"},
        {kWrite, "apps",
         "daemonsets deployments deployments/scale replicasets "
         "replicasets/scale"},
        {kWrite, "batch", "jobs"},
        {kWrite, "policy", "poddisruptionbudgets"},
        {kAll, "coordination.k8s.io", "leases"}},
       "edit"},
      {"system:aggregate-to-view",
       {{kRead, "core",
         "configmaps endpoints events namespaces namespaces/status pods "
         "pods/log pods/status serviceaccounts services services/status"},
        {kRead, "discovery.k8s.io", "endpointslices"},
        {kRead, "apps",
         "controllerrevisions daemonsets daemonsets/status deployments "
         "deployments/scale deployments/status replicasets replicasets/scale "
         "replicasets/status"},
        {kRead, "batch", "jobs jobs/status"},
        {kRead, "policy",
         "poddisruptionbudgets poddisruptionbudgets/status"}},
       "view"},
      // What metrics-server brings with it.
      {"system:aggregated-metrics-reader",
       {{kRead, "metrics.k8s.io", "nodes pods"}},
       "view"},
      {"system:basic-user",
       {{"create", "authorization.k8s.io",
         "selfsubjectaccessreviews selfsubjectrulesreviews"},
        {"create", "authentication.k8s.io", "selfsubjectreviews"}}},
      {"system:discovery", {{"get", "", kDiscoveryUrls}}},
      {"system:public-info-viewer", {{"get", "", kPublicUrls}}},
      {"system:monitoring",
       {{"get", "", "/healthz /healthz/* /livez /livez/* /metrics /readyz "
                    "/readyz/*"}}},
  };
}

std::vector<RoleRow> ComponentRoles() {
  return {
      // What a node may is for the node authorizer; this is the rest of it.
      {"system:node",
       {{kRead, "core", "services"},
        {"create", "authentication.k8s.io", "tokenreviews"},
        {"create", "authorization.k8s.io", "subjectaccessreviews"},
        {"create patch update", "core", "events"}}},
      // Fairlead's own: its kubelet sets the routes to all nodes' pods.
      {"fairlead:node-routes", {{kRead, "core", "nodes"}}},
      {"system:node-proxier",
       {{"list watch", "core", "endpoints services"},
        {kRead, "core", "nodes"},
        {"list watch", "discovery.k8s.io", "endpointslices"},
        {"list watch", "networking.k8s.io", "servicecidrs"},
        {"create patch update", "core events.k8s.io", "events"}}},
      {"system:kube-scheduler",
       {{"create patch update", "core events.k8s.io", "events"},
        {kRead, "core", "namespaces nodes pods services"},
        {"create", "core", "pods/binding"},
        {"delete", "core", "pods"},
        {"patch update", "core", "pods/status"},
        {kRead, "apps", "replicasets"},
        {kRead, "policy", "poddisruptionbudgets"},
        {"create get update", "coordination.k8s.io", "leases"}}},
      {"system:kube-controller-manager",
       {{"create patch update", "core events.k8s.io", "events"},
        {"list watch", "*", "*"},
        {"create get update", "coordination.k8s.io", "leases"},
        {"create", "core", "serviceaccounts/token"},
        {"create", "authentication.k8s.io", "tokenreviews"},
        {"create", "authorization.k8s.io", "subjectaccessreviews"}}},
      {"system:auth-delegator",
       {{"create", "authentication.k8s.io", "tokenreviews"},
        {"create", "authorization.k8s.io", "subjectaccessreviews"}}},
      {"system:kube-dns",
       {{"list watch", "core", "endpoints services"},
        {"list watch", "discovery.k8s.io", "endpointslices"}}},
      {"system:node-problem-detector",
       {{"get", "core", "nodes"},
        {"patch", "core", "nodes/status"},
        {"create patch update", kEventGroups, "events"}}},
      {"system:kubelet-api-admin",
       {{kRead, "core", "nodes"},
        {"proxy", "core", "nodes"},
        {"*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"}}},
  };
}

// Of the controllers, each for its ServiceAccount in kube-system. Ours run in
// this process as the administrator; these are for somebody else's.
std::vector<RoleRow> ControllerRoles() {
  const Rule events = {"create patch update", kEventGroups, "events"};
  const Rule pods = {"create delete list patch watch", "core", "pods"};
  return {
      {"clusterrole-aggregation-controller",
       {{"escalate get list patch update watch", kRbacGroup, "clusterroles"}}},
      {"daemon-set-controller",
       {{kRead, "apps", "daemonsets"},
        {"update", "apps", "daemonsets/status"},
        {"update", "apps", "daemonsets/finalizers"},
        {"list watch", "core", "nodes"},
        pods,
        {"create", "core", "pods/binding"},
        {"create delete get list patch update watch", "apps",
         "controllerrevisions"},
        events}},
      {"deployment-controller",
       {{"get list update watch", "apps", "deployments"},
        {"update", "apps", "deployments/status"},
        {"update", "apps", "deployments/finalizers"},
        {"create delete get list patch update watch", "apps", "replicasets"},
        {"get list update watch", "core", "pods"},
        events}},
      {"disruption-controller",
       {{kRead, "apps", "deployments replicasets"},
        {kRead, "policy", "poddisruptionbudgets"},
        {"update", "policy", "poddisruptionbudgets/status"},
        {"list watch", "core", "pods"},
        {"patch update", "core", "pods/status"},
        {"get", "*", "*/scale"},
        events}},
      {"endpoint-controller",
       {{kRead, "core", "pods services"},
        {"create delete get list update", "core", "endpoints"},
        {"create", "core", "endpoints/restricted"},
        events}},
      {"endpointslice-controller",
       {{kRead, "core", "nodes pods services"},
        {"update", "core", "services/finalizers"},
        {"create delete get list update", "discovery.k8s.io",
         "endpointslices"},
        {"create", "discovery.k8s.io", "endpointslices/restricted"},
        events}},
      {"endpointslicemirroring-controller",
       {{kRead, "core", "endpoints services"},
        {"update", "core", "endpoints/finalizers services/finalizers"},
        {"create delete get list update", "discovery.k8s.io",
         "endpointslices"},
        {"create", "discovery.k8s.io", "endpointslices/restricted"},
        events}},
      {"generic-garbage-collector",
       {{"delete get list patch update watch", "*", "*"}, events}},
      {"job-controller",
       {{"get list patch update watch", "batch", "jobs"},
        {"update", "batch", "jobs/status"},
        {"update", "batch", "jobs/finalizers"},
        pods,
        events}},
      {"namespace-controller",
       {{"delete get list watch", "core", "namespaces"},
        {"update", "core", "namespaces/finalize namespaces/status"},
        {"delete deletecollection get list", "*", "*"}}},
      {"node-controller",
       {{"delete get list patch update", "core", "nodes"},
        {"patch update", "core", "nodes/status"},
        {"patch update", "core", "pods/status"},
        {"delete get list", "core", "pods"},
        events}},
      {"pod-garbage-collector",
       {{"delete list watch", "core", "pods"},
        {"get list", "core", "nodes"},
        {"patch", "core", "pods/status"}}},
      {"replicaset-controller",
       {{"get list update watch", "apps", "replicasets"},
        {"update", "apps", "replicasets/status"},
        {"update", "apps", "replicasets/finalizers"},
        pods,
        events}},
      {"root-ca-cert-publisher",
       {{"create update", "core", "configmaps"}, events}},
      {"service-account-controller",
       {{"create", "core", "serviceaccounts"}, events}},
      {"service-cidrs-controller",
       {{"get list patch update watch", "networking.k8s.io", "servicecidrs"},
        {"patch update", "networking.k8s.io", "servicecidrs/finalizers"},
        {"patch update", "networking.k8s.io", "servicecidrs/status"},
        {kRead, "networking.k8s.io", "ipaddresses"},
        events}},
      {"ttl-controller",
       {{"list patch update watch", "core", "nodes"}, events}},
  };
}

// Of single namespaces. Ours has nobody who acts by these; clients look for
// the first one when they add an API server of their own.
std::vector<LocalRow> LocalRoles() {
  constexpr const char* kSystem = "kube-system";
  constexpr const char* kPublic = "kube-public";
  constexpr const char* kSigner = "system:controller:bootstrap-signer";
  constexpr const char* kCloud = "system:controller:cloud-provider";
  constexpr const char* kCleaner = "system:controller:token-cleaner";
  constexpr const char* kManagerLock =
      "system::leader-locking-kube-controller-manager";
  constexpr const char* kSchedulerLock =
      "system::leader-locking-kube-scheduler";
  const Rule events = {"create patch update", kEventGroups, "events"};
  const Rule leases = {"create get list update watch", "coordination.k8s.io",
                       "leases"};
  return {
      {kSystem,
       "extension-apiserver-authentication-reader",
       {{kRead, "core", "configmaps", "extension-apiserver-authentication"}},
       "system::extension-apiserver-authentication-reader",
       {"system:kube-controller-manager", "system:kube-scheduler"},
       {}},
      {kSystem,
       kManagerLock,
       {leases},
       kManagerLock,
       {"system:kube-controller-manager"},
       {"kube-controller-manager", "leader-election-controller"}},
      {kSystem,
       kSchedulerLock,
       {leases},
       kSchedulerLock,
       {"system:kube-scheduler"},
       {"kube-scheduler"}},
      {kSystem,
       kSigner,
       {{kRead, "core", "secrets"}},
       kSigner,
       {},
       {"bootstrap-signer"}},
      {kPublic,
       kSigner,
       {{kRead, "core", "configmaps"},
        {"update", "core", "configmaps", "cluster-info"},
        events},
       kSigner,
       {},
       {"bootstrap-signer"}},
      {kSystem,
       kCloud,
       {{"create get list watch", "core", "configmaps"}},
       kCloud,
       {},
       {"cloud-provider"}},
      {kSystem,
       kCleaner,
       {{"delete get list watch", "core", "secrets"}, events},
       kCleaner,
       {},
       {"token-cleaner"}},
  };
}

// In this order, which SelfSubjectRulesReview keeps.
std::vector<BindingRow> Bindings() {
  return {
      {"system:basic-user", "Group", {"system:authenticated"}},
      {"system:public-info-viewer",
       "Group",
       {"system:authenticated", "system:unauthenticated"}},
      {"cluster-admin", "Group", {"system:masters"}},
      {"system:discovery", "Group", {"system:authenticated"}},
      {"system:monitoring", "Group", {"system:monitoring"}},
      // Bound to nobody, as in Kubernetes: the node authorizer does it.
      {"system:node", "", {}},
      {"fairlead:node-routes", "Group", {"system:nodes"}},
      {"system:node-proxier", "User", {"system:kube-proxy"}},
      {"system:kube-scheduler", "User", {"system:kube-scheduler"}},
      {"system:kube-controller-manager",
       "User",
       {"system:kube-controller-manager"}},
  };
}

Json Words(std::string_view text) {
  Json out = Json::array();
  for (absl::string_view word :
       absl::StrSplit(Absl(text), ' ', absl::SkipEmpty())) {
    out.push_back(word == "core" ? std::string() : std::string(word));
  }
  return out;
}

Json MetadataOf(std::string_view name) {
  return {{"name", name},
          {"labels", {{"kubernetes.io/bootstrapping", "rbac-defaults"}}},
          {"annotations",
           {{"rbac.authorization.kubernetes.io/autoupdate", "true"}}}};
}

Json RulesOf(const std::vector<Rule>& rows) {
  Json rules = Json::array();
  for (const Rule& rule : rows) {
    rules.push_back({{"verbs", Words(rule.verbs)}});
    Json& made = rules.back();
    if (*rule.groups == '\0') {
      made["nonResourceURLs"] = Words(rule.resources);
      continue;
    }
    made["apiGroups"] = Words(rule.groups);
    made["resources"] = Words(rule.resources);
    if (*rule.names != '\0') made["resourceNames"] = Words(rule.names);
  }
  return rules;
}

Json RoleObject(const RoleRow& row, std::string_view prefix = "") {
  constexpr char kPrefix[] = "rbac.authorization.k8s.io/aggregate-to-";
  Json object = {{"kind", "ClusterRole"},
                 {"metadata", MetadataOf(StrCat(prefix, row.name))},
                 {"rules", RulesOf(row.rules)}};
  if (*row.added_to != '\0') {
    object["metadata"]["labels"][StrCat(kPrefix, row.added_to)] = "true";
  }
  if (*row.takes != '\0') {
    object["aggregationRule"]["clusterRoleSelectors"] = Json::array(
        {{{"matchLabels", {{StrCat(kPrefix, row.takes), "true"}}}}});
  }
  return object;
}

Json BindingObject(std::string_view role, Json subjects) {
  return {{"kind", "ClusterRoleBinding"},
          {"metadata", MetadataOf(role)},
          {"subjects", std::move(subjects)},
          {"roleRef",
           {{"apiGroup", kRbacGroup},
            {"kind", "ClusterRole"},
            {"name", role}}}};
}

Json SubjectsOf(const char* kind, const std::vector<const char*>& names) {
  Json subjects = Json::array();
  for (const char* name : names) {
    subjects.push_back(
        {{"kind", kind}, {"apiGroup", kRbacGroup}, {"name", name}});
  }
  return subjects;
}

Json AccountOfSystem(const char* name) {
  return {{"kind", "ServiceAccount"},
          {"name", name},
          {"namespace", "kube-system"}};
}

// The Role and its RoleBinding.
void AddLocal(const LocalRow& row, std::vector<Json>* objects) {
  Json role = {{"kind", "Role"},
               {"metadata", MetadataOf(row.name)},
               {"rules", RulesOf(row.rules)}};
  Json subjects = SubjectsOf("User", row.users);
  for (const char* name : row.accounts) {
    subjects.push_back(AccountOfSystem(name));
  }
  Json binding = {{"kind", "RoleBinding"},
                  {"metadata", MetadataOf(row.binding)},
                  {"subjects", std::move(subjects)},
                  {"roleRef",
                   {{"apiGroup", kRbacGroup},
                    {"kind", "Role"},
                    {"name", row.name}}}};
  for (Json* object : {&role, &binding}) {
    (*object)["metadata"]["namespace"] = row.ns;
    objects->push_back(std::move(*object));
  }
}

}  // namespace

std::vector<Json> DefaultRoles() {
  std::vector<Json> objects;
  for (const RoleRow& row : UserRoles()) objects.push_back(RoleObject(row));
  for (const RoleRow& row : ComponentRoles()) {
    objects.push_back(RoleObject(row));
  }
  for (const BindingRow& row : Bindings()) {
    objects.push_back(
        BindingObject(row.role, SubjectsOf(row.subject_kind, row.subjects)));
  }
  constexpr char kController[] = "system:controller:";
  for (const RoleRow& row : ControllerRoles()) {
    objects.push_back(RoleObject(row, kController));
    objects.push_back(BindingObject(StrCat(kController, row.name),
                                    Json::array({AccountOfSystem(row.name)})));
  }
  objects.push_back(BindingObject(
      "system:kube-dns", Json::array({AccountOfSystem("kube-dns")})));
  for (const LocalRow& row : LocalRoles()) AddLocal(row, &objects);
  return objects;
}

}  // namespace fairlead::api
