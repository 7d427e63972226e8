// SPDX-License-Identifier: Apache-2.0
#include "control/api/ip_address_view.h"

#include <set>
#include <utility>

#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::api {
namespace {

constexpr char kFamily[] = "ipaddress.kubernetes.io/ip-family";
constexpr char kManager[] = "ipallocator.k8s.io";
constexpr char kManagedBy[] = "ipaddress.kubernetes.io/managed-by";

std::set<std::string> AddressesOf(const Json& service) {
  std::set<std::string> out;
  for (const Json& address : List(service, {"spec", "clusterIPs"})) {
    if (IpAddress::Parse(Text(address)).ok()) {
      out.emplace(Text(address));
    }
  }
  return out;
}

Json Owner(const Json& time) {
  return {{"manager", "kube-apiserver"},
          {"operation", "Update"},
          {"apiVersion", kube::IpAddresses().ApiVersion()},
          {"time", time},
          {"fieldsType", "FieldsV1"},
          {"fieldsV1",
           {{"f:metadata",
             {{"f:labels",
               {{".", Json::object()},
                {StrCat("f:", kFamily), Json::object()},
                {StrCat("f:", kManagedBy), Json::object()}}}}},
            {"f:spec",
             {{"f:parentRef",
               {{".", Json::object()},
                {"f:name", Json::object()},
                {"f:namespace", Json::object()},
                {"f:resource", Json::object()}}}}}}}};
}

}  // namespace

IpAddressView::~IpAddressView() {
  if (addresses_ != nullptr) services_->cache.RemoveWatcher(watcher_);
}

void IpAddressView::Open() {
  if (addresses_ != nullptr) return;
  services_ = registry_->Find("", "v1", "services");
  addresses_ = registry_->Find("networking.k8s.io", "v1", "ipaddresses");
  for (const auto& [key, object] : services_->cache.objects()) {
    Json service = ParseObject(*services_, *object);
    for (const std::string& address : AddressesOf(service)) {
      Put(address, service, object->revision);
    }
  }
  addresses_->cache.SetStart(registry_->revision());
  watcher_ = services_->cache.AddWatcher(
      [this](const store::Event& event) { OnService(event); });
}

void IpAddressView::OnService(const store::Event& event) {
  Json before = event.before == nullptr
                    ? Json()
                    : ParseObject(*services_, *event.before);
  Json after = event.deleted ? Json() : ParseObject(*services_, *event.object);
  std::set<std::string> had = AddressesOf(before), has = AddressesOf(after);
  for (const std::string& address : had) {
    if (!has.contains(address)) Remove(address, event.revision);
  }
  for (const std::string& address : has) {
    if (!had.contains(address)) Put(address, after, event.revision);
  }
}

void IpAddressView::Put(const std::string& address, const Json& service,
                        store::Revision revision) {
  const Json& time = Get(service, {"metadata", "creationTimestamp"});
  const bool v4 = IpAddress::Parse(address)->family() == IpFamily::kIpv4;
  auto object = std::make_shared<store::Object>();
  object->key = address;
  object->revision = revision;
  object->labels = {{kFamily, v4 ? "IPv4" : "IPv6"},
                    {kManagedBy, kManager}};
  Json metadata = {{"name", address},
                   {"uid", registry_->NewUid()},
                   {"creationTimestamp", time},
                   {"labels",
                    {{kFamily, v4 ? "IPv4" : "IPv6"}, {kManagedBy, kManager}}},
                   {"managedFields", Json::array({Owner(time)})}};
  Json spec = {{"parentRef",
                {{"resource", "services"},
                 {"namespace", Get(service, {"metadata", "namespace"})},
                 {"name", Get(service, {"metadata", "name"})}}}};
  object->text = StrCat("{\"metadata\":{\"resourceVersion\":\"", revision,
                        "\",", metadata.dump().substr(1),
                        ",\"spec\":", spec.dump(), "}");
  store::Event event;
  event.before = addresses_->cache.Find(address);
  event.object = std::move(object);
  event.revision = revision;
  addresses_->cache.Apply(std::move(event));
}

void IpAddressView::Remove(const std::string& address,
                           store::Revision revision) {
  store::ObjectRef last = addresses_->cache.Find(address);
  if (last == nullptr) return;
  auto gone = std::make_shared<store::Object>(*last);
  gone->revision = revision;
  const std::string old = Quote(StrCat(last->revision));
  gone->text.replace(gone->text.find(old), old.size(),
                     Quote(StrCat(revision)));
  store::Event event;
  event.before = last;
  event.object = std::move(gone);
  event.deleted = true;
  event.revision = revision;
  addresses_->cache.Apply(std::move(event));
}

}  // namespace fairlead::api
