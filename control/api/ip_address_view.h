// SPDX-License-Identifier: Apache-2.0
// IPAddress objects (networking.k8s.io/v1), which say whose a ClusterIP is.
//
// They are a view of the Services, not objects of the store: a Service's
// addresses are claimed within its own write, so that a second object could
// only say the same again, or be wrong. Nothing is done before somebody asks
// for one.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_IP_ADDRESS_VIEW_H_
#define FAIRLEAD_CONTROL_API_IP_ADDRESS_VIEW_H_

#include "control/api/registry.h"

namespace fairlead::api {

class IpAddressView {
 public:
  // `registry` must outlive it.
  explicit IpAddressView(Registry* registry) : registry_(registry) {}
  ~IpAddressView();
  IpAddressView(const IpAddressView&) = delete;
  IpAddressView& operator=(const IpAddressView&) = delete;

  // Fills the kind's cache, and follows the Services from then on. Versions
  // from before are too old to be watched from. After Registry::Load.
  void Open();

 private:
  void OnService(const store::Event& event);
  void Put(const std::string& address, const Json& service,
           store::Revision revision);
  void Remove(const std::string& address, store::Revision revision);

  Registry* registry_;
  Served* addresses_ = nullptr;  // null: not open
  Served* services_ = nullptr;
  store::WatchCache::WatcherId watcher_ = 0;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_IP_ADDRESS_VIEW_H_
