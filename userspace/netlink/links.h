// SPDX-License-Identifier: Apache-2.0
// Follows the devices and addresses of one network namespace.
//
// Threads: the event loop's only, callbacks too. Follows the namespace of the
// thread that called Start(). When the kernel's queue overflows, everything is
// listed again and only the differences are reported, so a follower never
// misses a state, at most one that came and went.
#ifndef FAIRLEAD_USERSPACE_NETLINK_LINKS_H_
#define FAIRLEAD_USERSPACE_NETLINK_LINKS_H_

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "absl/status/status.h"
#include "userspace/base/event_loop.h"
#include "userspace/netlink/netlink_socket.h"

namespace fairlead::netlink {

struct LinksCallbacks {
  // New or changed (compare with what was known by index).
  std::function<void(const Link&)> on_link;
  std::function<void(const Link&)> on_link_removed;
  std::function<void(const LinkAddress&)> on_address;
  std::function<void(const LinkAddress&)> on_address_removed;
};

class Links {
 public:
  Links(EventLoop* loop, LinksCallbacks callbacks);
  ~Links();

  // Lists what there is (the callbacks run inside this call) and follows
  // from then on.
  [[nodiscard]] absl::Status Start();

  const std::map<int, Link>& links() const { return links_; }
  const std::set<LinkAddress>& addresses() const { return addresses_; }

 private:
  class Watch;
  void ApplyLink(const Link& link);
  void RemoveLink(int index);
  void ApplyAddress(const LinkAddress& address);
  void RemoveAddress(const LinkAddress& address);
  absl::Status Resync();

  EventLoop* loop_;
  LinksCallbacks callbacks_;
  std::map<int, Link> links_;
  std::set<LinkAddress> addresses_;
  std::unique_ptr<NetlinkSocket> requests_;
  std::unique_ptr<Watch> watch_;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_LINKS_H_
