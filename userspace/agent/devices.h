// SPDX-License-Identifier: Apache-2.0
// Keeps the packet programs on the devices that are wanted, as devices come
// and go, and tells which addresses the host has.
//
// Threads: the event loop's only. The pointers outlive this.
#ifndef FAIRLEAD_USERSPACE_AGENT_DEVICES_H_
#define FAIRLEAD_USERSPACE_AGENT_DEVICES_H_

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "userspace/agent/config.h"
#include "userspace/base/event_loop.h"
#include "userspace/datapath/datapath.h"
#include "userspace/netlink/links.h"

namespace fairlead::agent {

class Devices {
 public:
  Devices(EventLoop* loop, const AgentConfig* config,
          std::function<void()> on_addresses);

  // Lists devices and addresses. Attaches nothing yet.
  [[nodiscard]] absl::Status Start();
  // From now on attaches; first to all there are, and detaches those of an
  // earlier run that aren't wanted any more.
  void AttachTo(datapath::Datapath* datapath);

  const std::set<netlink::LinkAddress>& addresses() const {
    return links_.addresses();
  }
  // The same without those that are Services', on the device that kube-proxy has
  // for IPVS.
  std::set<netlink::LinkAddress> own_addresses() const;
  std::vector<std::string> attached() const;
  uint64_t failures() const { return failures_; }

 private:
  void OnLink(const netlink::Link& link);
  void OnLinkRemoved(const netlink::Link& link);
  // Tells the programs whether pods are behind the device.
  void MarkPods(const netlink::Link& link);
  void SetPods(int index, bool pods);
  void Attach(int index);
  void Detach(int index);

  EventLoop* loop_;
  const AgentConfig* config_;
  std::function<void()> on_addresses_;
  netlink::Links links_;
  datapath::Datapath* datapath_ = nullptr;
  std::set<int> attached_;
  std::set<int> pod_devices_;  // as the programs know them
  struct Retry {
    int tries = 0;
    Timer timer;
  };
  std::map<int, Retry> retries_;
  uint64_t failures_ = 0;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_DEVICES_H_
