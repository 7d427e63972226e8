// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/devices.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "userspace/agent/kube_proxy_rules.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

constexpr int kMaxTries = 6;
constexpr absl::Duration kFirstRetry = absl::Milliseconds(200);

}  // namespace

Devices::Devices(EventLoop* loop, const AgentConfig* config,
                 std::function<void()> on_addresses)
    : loop_(loop),
      config_(config),
      on_addresses_(std::move(on_addresses)),
      links_(loop,
             {.on_link = [this](const netlink::Link& l) { OnLink(l); },
              .on_link_removed =
                  [this](const netlink::Link& l) { OnLinkRemoved(l); },
              .on_address =
                  [this](const netlink::LinkAddress&) { on_addresses_(); },
              .on_address_removed =
                  [this](const netlink::LinkAddress&) { on_addresses_(); }}) {}

absl::Status Devices::Start() {
  return WithContext(links_.Start(), "follow devices and addresses");
}

void Devices::AttachTo(datapath::Datapath* datapath) {
  datapath_ = datapath;
  attached_.clear();
  auto before = datapath_->AttachedDevices();
  if (before.ok()) attached_.insert(before->begin(), before->end());
  auto pods = datapath_->PodDevices();
  if (pods.ok()) pod_devices_ = {pods->begin(), pods->end()};
  for (const auto& [index, link] : links_.links()) OnLink(link);
  for (int index : std::set<int>(attached_)) {
    if (links_.links().count(index) == 0) Detach(index);
  }
  for (int index : std::set<int>(pod_devices_)) {
    if (links_.links().count(index) == 0) SetPods(index, false);
  }
}

std::set<netlink::LinkAddress> Devices::own_addresses() const {
  std::set<netlink::LinkAddress> own = addresses();
  std::erase_if(own, [this](const netlink::LinkAddress& address) {
    auto it = links_.links().find(address.link_index);
    return it != links_.links().end() && it->second.name == kIpvsDevice;
  });
  return own;
}

std::vector<std::string> Devices::attached() const {
  std::vector<std::string> names;
  for (int index : attached_) {
    auto it = links_.links().find(index);
    if (it != links_.links().end()) names.push_back(it->second.name);
  }
  return names;
}

void Devices::OnLink(const netlink::Link& link) {
  if (datapath_ == nullptr) return;
  MarkPods(link);
  bool wanted = WantsDevice(*config_, link.name, link.loopback);
  if (wanted && attached_.count(link.index) == 0) {
    if (retries_.count(link.index) == 0) Attach(link.index);
  } else if (!wanted && attached_.count(link.index) > 0) {
    Detach(link.index);
  }
}

void Devices::OnLinkRemoved(const netlink::Link& link) {
  retries_.erase(link.index);
  if (datapath_ == nullptr) return;
  SetPods(link.index, false);
  Detach(link.index);
}

void Devices::MarkPods(const netlink::Link& link) {
  auto master = links_.links().find(link.master);
  SetPods(link.index,
          IsPodDevice(*config_, link.name,
                      master == links_.links().end() ? ""
                                                     : master->second.name));
}

void Devices::SetPods(int index, bool pods) {
  if (pods == (pod_devices_.count(index) > 0)) return;
  absl::Status status = datapath_->SetPodDevice(index, pods);
  if (!status.ok()) {
    ++failures_;
    spdlog::error("msg=\"cannot mark device\" ifindex={} pods={} error=\"{}\"",
                  index, pods, status.ToString());
    return;
  }
  if (pods) {
    pod_devices_.insert(index);
  } else {
    pod_devices_.erase(index);
  }
}

void Devices::Attach(int index) {
  auto it = links_.links().find(index);
  if (it == links_.links().end()) return;
  const std::string& name = it->second.name;
  absl::Status status = datapath_->AttachDevice(index);
  if (status.ok()) {
    attached_.insert(index);
    retries_.erase(index);
    spdlog::info("msg=\"device attached\" device={} ifindex={}", name, index);
    return;
  }
  ++failures_;
  Retry& retry = retries_[index];
  if (++retry.tries > kMaxTries) {
    // Stays in retries_: it is not tried again until it goes and comes back.
    spdlog::error("msg=\"device given up\" device={} ifindex={} error=\"{}\"",
                  name, index, status.ToString());
    return;
  }
  spdlog::warn("msg=\"cannot attach to device\" device={} ifindex={} "
               "try={} error=\"{}\"",
               name, index, retry.tries, status.ToString());
  retry.timer = loop_->After(kFirstRetry * (1 << retry.tries),
                             [this, index] { Attach(index); });
}

void Devices::Detach(int index) {
  if (attached_.erase(index) == 0) return;
  absl::Status status = datapath_->DetachDevice(index);
  if (status.ok()) {
    spdlog::info("msg=\"device detached\" ifindex={}", index);
  } else {
    spdlog::warn("msg=\"cannot detach from device\" ifindex={} error=\"{}\"",
                 index, status.ToString());
  }
}

}  // namespace fairlead::agent
