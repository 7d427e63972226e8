// SPDX-License-Identifier: Apache-2.0
#include "control/api/kinds.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "control/api/defaults.h"
#include "control/api/json_access.h"
#include "control/api/normalize.h"
#include "control/api/rbac.h"
#include "control/api/rbac_kinds.h"
#include "control/api/reviews.h"
#include "control/api/schema_set.h"
#include "control/api/tables.h"
#include "control/api/usage_metrics.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::api {
namespace {

using Schemas = std::shared_ptr<const SchemaSet>;

// For what only a broken build can bring about: the schemas are compiled in.
void Require(bool condition, std::string_view what) {
  if (condition) return;
  std::fprintf(stderr, "kinds: %.*s\n", static_cast<int>(what.size()),
               what.data());
  std::abort();
}

// "spec.nodeName" of an object, as a field selector compares it.
std::string FieldText(const Json& object, std::string_view field) {
  const Json* at = &object;
  while (!field.empty()) {
    size_t dot = field.find('.');
    at = &Get(*at, field.substr(0, dot));
    field = dot == std::string_view::npos ? std::string_view()
                                          : field.substr(dot + 1);
  }
  if (at->is_string()) return at->get<std::string>();
  if (at->is_boolean() || at->is_number()) return at->dump();
  return "";
}

std::string FlagText(const Json& object, std::string_view field) {
  std::string text = FieldText(object, field);
  return text.empty() ? "false" : text;
}

// What a kind brings beyond its name and schema.
struct Behaviour {
  Printer printer;
  void (*prepare)(WriteVerb, Json&, const Json*) = nullptr;
  void (*defaults)(Json&) = nullptr;
  FieldErrors (*validate)(const Json&, const Json*) = nullptr;
  std::vector<std::string> (*warnings)(const Json&, const Json*) = nullptr;
};

// The row without its flags, names and selectable fields.
Kind Row(const Schemas& schemas, const kube::Resource& resource,
         std::string_view schema, Behaviour behaviour) {
  Kind kind;
  kind.resource = resource;
  kind.schema = schemas->Find(schema);
  Require(kind.schema != nullptr, schema);
  kind.singular = resource.plural.substr(0, resource.plural.size() - 1);
  kind.columns = std::move(behaviour.printer.columns);
  kind.cells = std::move(behaviour.printer.cells);
  kind.field_value = FieldText;
  kind.prepare = [prepare = behaviour.prepare](WriteVerb verb, Json& object,
                                               const Json* before) {
    if (prepare != nullptr) prepare(verb, object, before);
  };
  // Captures the schemas: whoever holds a row keeps its types alive.
  kind.set_defaults = [schemas, type = kind.schema,
                       defaults = behaviour.defaults](Json& object) {
    if (defaults != nullptr) defaults(object);
    Normalize(*type, object);
  };
  kind.validate = behaviour.validate;
  kind.warnings = [warnings = behaviour.warnings](const Json& object,
                                                  const Json* before) {
    return warnings == nullptr ? std::vector<std::string>()
                               : warnings(object, before);
  };
  return kind;
}

Kind NamespaceRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Namespaces(), "io.k8s.api.core.v1.Namespace",
                  {NamespacePrinter(), PrepareNamespace, DefaultNamespace,
                   ValidateNamespace});
  kind.short_names = {"ns"};
  kind.has_status = true;
  kind.delete_returns_object = true;
  kind.no_delete_collection = true;
  kind.subresources = {{"finalize", "", "", "Namespace", {"update"}}};
  kind.selectable_fields = {"name", "status.phase"};
  kind.field_value = [](const Json& object, std::string_view field) {
    return FieldText(object, field == "name" ? "metadata.name" : field);
  };
  return kind;
}

Kind NodeRow(const Schemas& schemas) {
  Kind kind =
      Row(schemas, kube::Nodes(), "io.k8s.api.core.v1.Node",
          {NodePrinter(), PrepareNode, DefaultNode, ValidateNode});
  kind.short_names = {"no"};
  kind.has_status = true;
  kind.selectable_fields = {"spec.unschedulable"};
  kind.field_value = FlagText;
  return kind;
}

Kind PodRow(const Schemas& schemas) {
  Kind kind = Row(
      schemas, kube::Pods(), "io.k8s.api.core.v1.Pod",
      {PodPrinter(), PreparePod, DefaultPod, ValidatePod, PodWarnings});
  kind.short_names = {"po"};
  kind.categories = {"all"};
  kind.has_status = true;
  kind.has_generation = true;
  kind.graceful_deletion = true;
  kind.subresources = {{"binding", "", "", "Binding", {"create"}},
                       {"eviction", "policy", "v1", "Eviction", {"create"}},
                       {"exec", "", "", "PodExecOptions", {"create", "get"}},
                       {"log", "", "", "Pod", {"get"}},
                       {"portforward",
                        "",
                        "",
                        "PodPortForwardOptions",
                        {"create", "get"}}};
  kind.delete_returns_object = true;
  kind.selectable_fields = {
      "spec.nodeName",           "spec.restartPolicy", "spec.schedulerName",
      "spec.serviceAccountName", "spec.hostNetwork",   "status.phase",
      "status.podIP",            "status.nominatedNodeName"};
  kind.field_value = [](const Json& object, std::string_view field) {
    return field == "spec.hostNetwork" ? FlagText(object, field)
                                       : FieldText(object, field);
  };
  return kind;
}

Kind ServiceRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Services(), "io.k8s.api.core.v1.Service",
                  {ServicePrinter(), PrepareService, DefaultService,
                   ValidateService, ServiceWarnings});
  kind.short_names = {"svc"};
  kind.categories = {"all"};
  kind.has_status = true;
  kind.put_creates = true;
  kind.delete_returns_object = true;
  kind.selectable_fields = {"spec.clusterIP", "spec.type"};
  return kind;
}

Kind EndpointSliceRow(const Schemas& schemas) {
  Kind kind =
      Row(schemas, kube::EndpointSlices(),
          "io.k8s.api.discovery.v1.EndpointSlice",
          {EndpointSlicePrinter(), nullptr, DefaultEndpointSlice,
           ValidateEndpointSlice});
  kind.has_generation = true;
  return kind;
}

Kind EventRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Events(), "io.k8s.api.core.v1.Event",
                  {EventPrinter(), nullptr, nullptr, ValidateEvent});
  kind.short_names = {"ev"};
  kind.put_creates = true;
  kind.selectable_fields = {
      "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
      "involvedObject.uid", "involvedObject.apiVersion",
      "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
      "reportingComponent", "source", "type"};
  kind.field_value = [](const Json& object, std::string_view field) {
    if (field != "source") return FieldText(object, field);
    std::string component = FieldText(object, "source.component");
    return component.empty() ? FieldText(object, "reportingComponent")
                             : component;
  };
  return kind;
}

// Only for what it is called and made of: its requests are core/v1's.
Kind NewerEventRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::EventsV1(), "io.k8s.api.events.v1.Event",
                  {EventPrinter(), nullptr, nullptr, ValidateEvent});
  kind.short_names = {"ev"};
  kind.put_creates = true;
  return kind;
}

Kind SecretRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Secrets(), "io.k8s.api.core.v1.Secret",
                  {SecretPrinter(), nullptr, DefaultSecret, ValidateSecret});
  kind.selectable_fields = {"type"};
  return kind;
}

Kind LeaseRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Leases(), "io.k8s.api.coordination.v1.Lease",
                  {LeasePrinter(), nullptr, nullptr, ValidateLease});
  kind.put_creates = true;
  return kind;
}

Kind ReplicaSetRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::ReplicaSets(), "io.k8s.api.apps.v1.ReplicaSet",
                  {ReplicaSetPrinter(), PrepareSpecAndStatus, DefaultReplicaSet,
                   ValidateReplicaSet, WorkloadWarnings});
  kind.short_names = {"rs"};
  kind.categories = {"all"};
  kind.has_status = kind.has_scale = kind.has_generation = true;
  kind.selectable_fields = {"status.replicas"};
  kind.field_value = [](const Json& object, std::string_view field) {
    std::string text = FieldText(object, field);
    return text.empty() ? std::string("0") : text;
  };
  return kind;
}

Kind DeploymentRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Deployments(), "io.k8s.api.apps.v1.Deployment",
                  {DeploymentPrinter(), PrepareDeployment, DefaultDeployment,
                   ValidateDeployment, WorkloadWarnings});
  kind.short_names = {"deploy"};
  kind.categories = {"all"};
  kind.has_status = kind.has_scale = kind.has_generation = true;
  return kind;
}

Kind DaemonSetRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::DaemonSets(), "io.k8s.api.apps.v1.DaemonSet",
                  {DaemonSetPrinter(), PrepareDaemonSet, DefaultDaemonSet,
                   ValidateDaemonSet, WorkloadWarnings});
  kind.short_names = {"ds"};
  kind.categories = {"all"};
  kind.has_status = kind.has_generation = true;
  return kind;
}

Kind JobRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Jobs(), "io.k8s.api.batch.v1.Job",
                  {JobPrinter(), PrepareJob, DefaultJob, ValidateJob,
                   WorkloadWarnings});
  kind.categories = {"all"};
  kind.has_status = kind.has_generation = true;
  kind.selectable_fields = {"status.successful"};
  kind.field_value = [](const Json& object, std::string_view) {
    std::string text = FieldText(object, "status.succeeded");
    return text.empty() ? std::string("0") : text;
  };
  return kind;
}

Kind PodDisruptionBudgetRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::PodDisruptionBudgets(),
                  "io.k8s.api.policy.v1.PodDisruptionBudget",
                  {PodDisruptionBudgetPrinter(), PrepareSpecAndStatus, nullptr,
                   ValidatePodDisruptionBudget});
  kind.short_names = {"pdb"};
  kind.has_status = kind.has_generation = true;
  return kind;
}

Kind EndpointsRow(const Schemas& schemas) {
  Kind kind = Row(schemas, kube::Endpoints(), "io.k8s.api.core.v1.Endpoints",
                  {EndpointsPrinter(), nullptr, DefaultEndpoints,
                   ValidateEndpoints, EndpointsWarnings});
  kind.singular = "endpoints";
  kind.short_names = {"ep"};
  kind.put_creates = true;
  return kind;
}

// The small kinds of the cluster as a whole.
void AddClusterKinds(const Schemas& schemas, std::vector<Kind>* kinds) {
  kinds->push_back(Row(schemas, kube::PriorityClasses(),
                       "io.k8s.api.scheduling.v1.PriorityClass",
                       {PriorityClassPrinter(), nullptr, DefaultPriorityClass,
                        ValidatePriorityClass}));
  kinds->back().singular = "priorityclass";
  kinds->back().short_names = {"pc"};
  kinds->back().has_generation = true;
  kinds->push_back(Row(schemas, kube::IpAddresses(),
                       "io.k8s.api.networking.v1.IPAddress",
                       {IpAddressPrinter(), nullptr, nullptr,
                        ValidateIpAddress}));
  kinds->back().singular = "ipaddress";
  kinds->back().short_names = {"ip"};
  kinds->back().has_generation = true;
  kinds->push_back(Row(schemas, kube::ServiceCidrs(),
                       "io.k8s.api.networking.v1.ServiceCIDR",
                       {ServiceCidrPrinter(), PrepareSpecAndStatus, nullptr,
                        ValidateServiceCidr}));
  kinds->back().has_status = true;
}

void AddMetricsKinds(const Schemas& schemas, std::vector<Kind>* kinds) {
  auto add = [&](const char* plural, const char* name, bool namespaced,
                 Printer printer) {
    kinds->push_back(
        Row(schemas, {kMetricsGroup, "v1beta1", plural, name, namespaced},
            StrCat("io.k8s.metrics.pkg.apis.metrics.v1beta1.", name),
            {std::move(printer), nullptr, nullptr,
             [](const Json&, const Json*) { return FieldErrors(); }}));
    kinds->back().singular = "";
  };
  add("nodes", "NodeMetrics", false, NodeMetricsPrinter());
  add("pods", "PodMetrics", true, PodMetricsPrinter());
}

void AddRbacKinds(const Schemas& schemas, std::vector<Kind>* kinds) {
  auto add = [&](const char* plural, const char* name, bool namespaced,
                 Behaviour behaviour) {
    kinds->push_back(Row(schemas, {kRbacGroup, "v1", plural, name, namespaced},
                         StrCat("io.k8s.api.rbac.v1.", name),
                         std::move(behaviour)));
  };
  const Behaviour role{RolePrinter(), nullptr, nullptr, ValidateRole};
  const Behaviour binding{RoleBindingPrinter(), nullptr, DefaultRoleBinding,
                          ValidateRoleBinding};
  add("clusterrolebindings", "ClusterRoleBinding", false, binding);
  add("clusterroles", "ClusterRole", false, role);
  add("rolebindings", "RoleBinding", true, binding);
  add("roles", "Role", true, role);
}

}  // namespace

KindTable MakeKindTable() {
  auto parsed = SchemaSet::Parse(EmbeddedSchemas());
  Require(parsed.ok(), parsed.status().ToString());
  Schemas schemas = *std::move(parsed);

  std::vector<Kind> kinds;
  kinds.push_back(
      Row(schemas, kube::ConfigMaps(), "io.k8s.api.core.v1.ConfigMap",
          {ConfigMapPrinter(), nullptr, nullptr, ValidateConfigMap}));
  kinds.back().short_names = {"cm"};
  kinds.push_back(EndpointsRow(schemas));
  kinds.push_back(EventRow(schemas));
  kinds.push_back(NamespaceRow(schemas));
  kinds.push_back(NodeRow(schemas));
  kinds.push_back(PodRow(schemas));
  kinds.push_back(SecretRow(schemas));
  kinds.push_back(
      Row(schemas, kube::ServiceAccounts(), "io.k8s.api.core.v1.ServiceAccount",
          {ServiceAccountPrinter(), nullptr, nullptr, ValidateServiceAccount}));
  kinds.back().short_names = {"sa"};
  kinds.back().subresources = {{"token",
                                "authentication.k8s.io",
                                "v1",
                                "TokenRequest",
                                {"create"}}};
  kinds.push_back(ServiceRow(schemas));
  kinds.push_back(Row(schemas, kube::ControllerRevisions(),
                      "io.k8s.api.apps.v1.ControllerRevision",
                      {ControllerRevisionPrinter(), nullptr, nullptr,
                       ValidateControllerRevision}));
  kinds.push_back(NewerEventRow(schemas));
  kinds.push_back(DaemonSetRow(schemas));
  kinds.push_back(DeploymentRow(schemas));
  kinds.push_back(ReplicaSetRow(schemas));
  kinds.push_back(JobRow(schemas));
  kinds.push_back(LeaseRow(schemas));
  kinds.push_back(EndpointSliceRow(schemas));
  kinds.push_back(PodDisruptionBudgetRow(schemas));
  AddClusterKinds(schemas, &kinds);
  AddRbacKinds(schemas, &kinds);
  AddMetricsKinds(schemas, &kinds);
  for (Kind& kind : ReviewKinds(schemas)) kinds.push_back(std::move(kind));
  return KindTable(std::move(kinds), std::move(schemas));
}

const Kind* KindTable::Find(std::string_view group, std::string_view version,
                            std::string_view plural) const {
  for (const Kind& kind : kinds_) {
    if (kind.resource.group == group && kind.resource.version == version &&
        kind.resource.plural == plural) {
      return &kind;
    }
  }
  return nullptr;
}

const Kind* KindTable::FindByKind(std::string_view api_version,
                                  std::string_view kind) const {
  for (const Kind& row : kinds_) {
    if (row.resource.kind == kind && row.resource.ApiVersion() == api_version) {
      return &row;
    }
  }
  return nullptr;
}

}  // namespace fairlead::api
