// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/essentials.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "control/controllers/endpoint_slice.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kName[] = "kubernetes";
constexpr char kNamespace[] = "default";
constexpr char kKey[] = "essentials";
// The Service's, as in every cluster; not the API server's own.
constexpr int kServicePort = 443;

Json MetadataOf(const char* label, const char* value) {
  return {{"namespace", kNamespace}, {"name", kName}, {"labels",
                                                       {{label, value}}}};
}

Json NewService(const EssentialsOptions& options) {
  std::string ip = options.service_cidrs[0].At(1).ToString();
  Json metadata = MetadataOf("component", "apiserver");
  metadata["labels"]["provider"] = kName;
  return {{"metadata", std::move(metadata)},
          {"spec",
           {{"type", "ClusterIP"},
            {"clusterIP", ip},
            {"ipFamilyPolicy", "SingleStack"},
            {"ports", Json::array({{{"name", "https"},
                                    {"protocol", "TCP"},
                                    {"port", kServicePort},
                                    {"targetPort", options.port}}})}}}};
}

Json SlicePorts(const EssentialsOptions& options) {
  return Json::array({{{"name", "https"},
                       {"protocol", "TCP"},
                       {"port", options.port}}});
}

void PlanService(const EssentialsFacts& facts,
                 const EssentialsOptions& options, Plan* plan) {
  if (facts.service == nullptr) {
    if (!options.service_cidrs.empty()) {
      plan->writes.push_back(CreateOf(kube::Services(), NewService(options)));
    }
    return;
  }
  const Json& ports = Get(*facts.service, {"spec", "ports"});
  bool right = ports.is_array() && ports.size() == 1 &&
               Number(ports[0], {"port"}) == kServicePort &&
               Number(ports[0], {"targetPort"}) == options.port;
  if (right) return;
  plan->writes.push_back(
      PatchOf(kube::Services(), *facts.service,
              {{"spec", {{"ports", NewService(options)["spec"]["ports"]}}}}));
}

void PlanSlice(const EssentialsFacts& facts, const EssentialsOptions& options,
               Plan* plan) {
  Json endpoints = Json::array();
  if (options.advertise) {
    endpoints.push_back(
        {{"addresses", Json::array({options.advertise->ToString()})},
         {"conditions", {{"ready", true}}}});
  }
  bool v4 = options.advertise ? options.advertise->is_v4()
                              : options.service_cidrs.empty() ||
                                    options.service_cidrs[0].address().is_v4();
  Json wanted = {{"metadata", MetadataOf(kServiceName, kName)},
                 {"addressType", v4 ? "IPv4" : "IPv6"},
                 {"endpoints", std::move(endpoints)},
                 {"ports", SlicePorts(options)}};
  if (facts.slice == nullptr) {
    plan->writes.push_back(
        CreateOf(kube::EndpointSlices(), std::move(wanted)));
    return;
  }
  const Json& slice = *facts.slice;
  if (Get(slice, {"addressType"}) != wanted["addressType"]) {
    // It can't be changed: away, and made anew by the next plan.
    plan->writes.push_back(DeleteOf(kube::EndpointSlices(), slice));
    return;
  }
  const Json& have = Get(slice, {"endpoints"});
  bool right = Label(slice, kServiceName) == kName &&
               Get(slice, {"ports"}) == wanted["ports"] &&
               (have.is_array() ? have : Json::array()) == wanted["endpoints"];
  if (right) return;
  Json updated = slice;
  updated["metadata"]["labels"][kServiceName] = kName;
  updated["endpoints"] = wanted["endpoints"];
  updated["ports"] = wanted["ports"];
  plan->writes.push_back(
      UpdateOf(kube::EndpointSlices(), std::move(updated)));
}

void PlanEndpoints(const EssentialsFacts& facts,
                   const EssentialsOptions& options, Plan* plan) {
  Json subsets = Json::array();
  if (options.advertise) {
    subsets.push_back(
        {{"addresses",
          Json::array({{{"ip", options.advertise->ToString()}}})},
         {"ports", SlicePorts(options)}});
  }
  Json wanted = {
      {"metadata",
       MetadataOf("endpointslice.kubernetes.io/skip-mirror", "true")}};
  if (!subsets.empty()) wanted["subsets"] = subsets;
  if (facts.endpoints == nullptr) {
    plan->writes.push_back(CreateOf(kube::Endpoints(), std::move(wanted)));
    return;
  }
  const Json& have = Get(*facts.endpoints, {"subsets"});
  if ((have.is_array() ? have : Json::array()) == subsets) return;
  Json updated = *facts.endpoints;
  updated["subsets"] = subsets;
  plan->writes.push_back(UpdateOf(kube::Endpoints(), std::move(updated)));
}

Write PriorityClass(const char* name, int64_t value, const char* text) {
  return CreateOf(kube::PriorityClasses(), {{"metadata", {{"name", name}}},
                                            {"value", value},
                                            {"description", text}});
}

void PlanServiceCidr(const EssentialsFacts& facts,
                     const EssentialsOptions& options, absl::Time now,
                     Plan* plan) {
  if (options.service_cidrs.empty()) return;
  if (facts.service_cidr == nullptr) {
    Json cidrs = Json::array();
    for (const IpPrefix& cidr : options.service_cidrs) {
      cidrs.push_back(cidr.ToString());
    }
    plan->writes.push_back(CreateOf(
        kube::ServiceCidrs(),
        {{"metadata", {{"name", kName}}}, {"spec", {{"cidrs", cidrs}}}}));
  } else if (Condition(*facts.service_cidr, "Ready") == nullptr) {
    Json updated = *facts.service_cidr;
    updated["status"]["conditions"] = Json::array(
        {{{"type", "Ready"},
          {"status", "True"},
          {"reason", ""},
          {"message", "Kubernetes Service CIDR is ready"},
          {"lastTransitionTime", Timestamp(now)}}});
    plan->writes.push_back(StatusOf(kube::ServiceCidrs(), updated));
  }
}

}  // namespace

Plan PlanEssentials(const EssentialsFacts& facts,
                    const EssentialsOptions& options, absl::Time now) {
  Plan plan;
  if (facts.has_default_namespace) {
    PlanService(facts, options, &plan);
    PlanSlice(facts, options, &plan);
    PlanEndpoints(facts, options, &plan);
  }
  if (facts.node_critical == nullptr) {
    plan.writes.push_back(PriorityClass("system-node-critical", 2000001000,
                                        "Pods that a node can't do without."));
  }
  if (facts.cluster_critical == nullptr) {
    plan.writes.push_back(
        PriorityClass("system-cluster-critical", 2000000000,
                      "Pods that the cluster can't do without."));
  }
  PlanServiceCidr(facts, options, now, &plan);
  return plan;
}

EssentialsController::EssentialsController(const Context& context,
                                           const EssentialsOptions& options)
    : context_(context),
      options_(options),
      shell_(context, "kube-apiserver",
             [this](const std::string&, const Shell::Answers&) {
               return Make();
             }) {
  auto watch = [&](const kube::Resource& resource, const char* ns,
                   std::string_view prefix) {
    context.informers->Of(resource).Subscribe(
        [this, ns, prefix](const Object& before, const Object& after) {
          const Json& object = after != nullptr ? *after : *before;
          if (Namespace(object) == ns && Name(object).starts_with(prefix)) {
            shell_.Add(kKey);
          }
        });
  };
  watch(kube::Namespaces(), "", kNamespace);
  watch(kube::Services(), kNamespace, kName);
  watch(kube::EndpointSlices(), kNamespace, kName);
  watch(kube::Endpoints(), kNamespace, kName);
  watch(kube::PriorityClasses(), "", "system-");
  watch(kube::ServiceCidrs(), "", kName);
  shell_.Add(kKey);
}

Plan EssentialsController::Make() {
  Informers& informers = *context_.informers;
  std::string key = StrCat(kNamespace, "/", kName);
  Object ns = informers.Of(kube::Namespaces()).Get(kNamespace);
  EssentialsFacts facts;
  facts.has_default_namespace = ns != nullptr && !IsTerminating(*ns);
  facts.service = informers.Of(kube::Services()).Get(key);
  facts.slice = informers.Of(kube::EndpointSlices()).Get(key);
  facts.endpoints = informers.Of(kube::Endpoints()).Get(key);
  kube::Informer& classes = informers.Of(kube::PriorityClasses());
  facts.node_critical = classes.Get("system-node-critical");
  facts.cluster_critical = classes.Get("system-cluster-critical");
  facts.service_cidr = informers.Of(kube::ServiceCidrs()).Get(kName);
  return PlanEssentials(facts, options_, context_.clock->Now());
}

}  // namespace fairlead::controllers
