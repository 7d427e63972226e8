// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/root_ca.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr char kName[] = "kube-root-ca.crt";
constexpr char kAnnotation[] = "kubernetes.io/description";
constexpr char kAbout[] =
    "Contains a CA bundle that can be used to verify the kube-apiserver when "
    "using internal endpoints such as the internal service IP or "
    "kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters.";

}  // namespace

Plan PlanRootCa(const RootCaFacts& facts, const std::string& ca_pem) {
  Plan plan;
  // What is being emptied gets nothing new.
  if (ca_pem.empty() || IsTerminating(*facts.ns)) return plan;
  const Json data = {{"ca.crt", ca_pem}};
  if (facts.config_map == nullptr) {
    plan.writes.push_back(
        CreateOf(kube::ConfigMaps(),
                 {{"metadata",
                   {{"namespace", Name(*facts.ns)},
                    {"name", kName},
                    {"annotations", {{kAnnotation, kAbout}}}}},
                  {"data", data}}));
  } else if (Get(*facts.config_map, {"data"}) != data &&
             !IsTerminating(*facts.config_map)) {
    Json updated = *facts.config_map;
    updated["data"] = data;
    plan.writes.push_back(UpdateOf(kube::ConfigMaps(), std::move(updated)));
  }
  return plan;
}

RootCaPublisher::RootCaPublisher(const Context& context, std::string ca_pem)
    : context_(context),
      ca_pem_(std::move(ca_pem)),
      shell_(context, "root-ca-cert-publisher",
             [this](const std::string& key, const Shell::Answers&) {
               Informers& informers = *context_.informers;
               Object ns = informers.Of(kube::Namespaces()).Get(key);
               if (ns == nullptr) return Plan();
               return PlanRootCa(
                   {ns, informers.Of(kube::ConfigMaps())
                            .Get(StrCat(key, "/", kName))},
                   ca_pem_);
             }) {
  context.informers->Of(kube::Namespaces())
      .Subscribe([this](const Object&, const Object& after) {
        if (after != nullptr) shell_.Add(kube::KeyOf(*after));
      });
  context.informers->Of(kube::ConfigMaps())
      .Subscribe([this](const Object& before, const Object& after) {
        const Json& object = after != nullptr ? *after : *before;
        if (Name(object) == kName) shell_.Add(std::string(Namespace(object)));
      });
}

}  // namespace fairlead::controllers
