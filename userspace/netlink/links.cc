// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/links.h"

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/netlink/message.h"

namespace fairlead::netlink {

// Reads the kernel's notifications.
class Links::Watch {
 public:
  Watch(Links* links, UniqueFd fd)
      : links_(links), socket_(links->loop_->io(), fd.release()) {
    Wait();
  }

 private:
  void Wait() {
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this, alive = std::weak_ptr<bool>(alive_)](
                           const boost::system::error_code& error) {
                         if (error || alive.expired()) return;
                         Read();
                         Wait();
                       });
  }

  void Read() {
    for (;;) {
      ssize_t size = recv(socket_.native_handle(), input_, sizeof input_,
                          MSG_DONTWAIT);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == ENOBUFS) {
        lost_ = true;
        continue;
      }
      if (size <= 0) break;
      int left = static_cast<int>(size);
      for (auto* m = reinterpret_cast<nlmsghdr*>(input_);
           NLMSG_OK(m, static_cast<unsigned>(left));
           m = NLMSG_NEXT(m, left)) {
        Apply(m);
      }
    }
    // Only now that the queue is empty: what was in it is older than a
    // listing. One that fails is made again with the next notification.
    if (lost_ && links_->Resync().ok()) lost_ = false;
  }

  void Apply(const nlmsghdr* m) {
    if (m->nlmsg_type == RTM_NEWLINK || m->nlmsg_type == RTM_DELLINK) {
      auto link = ParseLink(m);
      if (!link.has_value()) return;
      if (m->nlmsg_type == RTM_NEWLINK) {
        links_->ApplyLink(*link);
      } else {
        links_->RemoveLink(link->index);
      }
    } else if (m->nlmsg_type == RTM_NEWADDR || m->nlmsg_type == RTM_DELADDR) {
      auto address = ParseAddress(m);
      if (!address.has_value()) return;
      if (m->nlmsg_type == RTM_NEWADDR) {
        links_->ApplyAddress(*address);
      } else {
        links_->RemoveAddress(*address);
      }
    }
  }

  Links* links_;
  bool lost_ = false;  // the queue overflowed
  boost::asio::posix::stream_descriptor socket_;
  // Expires with this object, which a completed wait may outlive.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  alignas(nlmsghdr) char input_[16 * 1024];
};

Links::Links(EventLoop* loop, LinksCallbacks callbacks)
    : loop_(loop), callbacks_(std::move(callbacks)) {}
Links::~Links() = default;

absl::Status Links::Start() {
  loop_->DCheckInLoop();
  FL_ASSIGN_OR_RETURN(
      UniqueFd fd,
      OpenRoute(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR));
  FL_ASSIGN_OR_RETURN(NetlinkSocket requests, NetlinkSocket::Open());
  requests_ = std::make_unique<NetlinkSocket>(std::move(requests));
  // Subscribed before listing: what changes in between is seen twice.
  FL_RETURN_IF_ERROR(Resync());
  watch_ = std::make_unique<Watch>(this, std::move(fd));
  return absl::OkStatus();
}

absl::Status Links::Resync() {
  FL_ASSIGN_OR_RETURN(std::vector<Link> links, requests_->ListLinks());
  FL_ASSIGN_OR_RETURN(std::vector<LinkAddress> addresses,
                      requests_->ListAddresses());
  std::map<int, Link> links_before = links_;
  std::set<LinkAddress> addresses_gone = addresses_;
  for (const Link& link : links) {
    links_before.erase(link.index);
    ApplyLink(link);
  }
  for (const auto& [index, link] : links_before) RemoveLink(index);
  for (const LinkAddress& address : addresses) {
    addresses_gone.erase(address);
    ApplyAddress(address);
  }
  for (const LinkAddress& address : addresses_gone) RemoveAddress(address);
  return absl::OkStatus();
}

void Links::ApplyLink(const Link& link) {
  auto [it, added] = links_.try_emplace(link.index, link);
  if (!added) {
    if (it->second == link) return;
    it->second = link;
  }
  if (callbacks_.on_link) callbacks_.on_link(link);
}

void Links::RemoveLink(int index) {
  auto it = links_.find(index);
  if (it == links_.end()) return;
  Link link = std::move(it->second);
  links_.erase(it);
  if (callbacks_.on_link_removed) callbacks_.on_link_removed(link);
}

void Links::ApplyAddress(const LinkAddress& address) {
  if (!addresses_.insert(address).second) return;
  if (callbacks_.on_address) callbacks_.on_address(address);
}

void Links::RemoveAddress(const LinkAddress& address) {
  if (addresses_.erase(address) == 0) return;
  if (callbacks_.on_address_removed) callbacks_.on_address_removed(address);
}

}  // namespace fairlead::netlink
