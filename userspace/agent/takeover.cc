// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/takeover.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "userspace/agent/foreign_keys.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/netlink/nf_tables.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::agent {
namespace {

constexpr IpFamily kFamilies[] = {IpFamily::kIpv4, IpFamily::kIpv6};
// A client that is silent until netfilter has forgotten it and comes back within
// this is taken for netfilter's for so long.
constexpr absl::Duration kPeriod = absl::Seconds(5);
// A table of a million entries takes a second to read: not more than a
// twentieth of the time goes into it.
constexpr int kShare = 20;

absl::StatusOr<bool> HoldersThere() {
  FL_ASSIGN_OR_RETURN(netlink::NfTables tables, netlink::NfTables::Open());
  for (IpFamily family : kFamilies) {
    FL_ASSIGN_OR_RETURN(bool there, tables.HasTable(family, kHolderTable));
    if (there) return true;
  }
  return false;
}

}  // namespace

absl::Status AddHolders() {
  FL_ASSIGN_OR_RETURN(netlink::NfTables tables, netlink::NfTables::Open());
  for (IpFamily family : kFamilies) {
    FL_RETURN_IF_ERROR(tables.AddNatHolder(family, kHolderTable));
  }
  return absl::OkStatus();
}

absl::Status DeleteHolders() {
  FL_ASSIGN_OR_RETURN(netlink::NfTables tables, netlink::NfTables::Open());
  for (IpFamily family : kFamilies) {
    FL_RETURN_IF_ERROR(tables.DeleteTable(family, kHolderTable));
  }
  return absl::OkStatus();
}

std::unique_ptr<Takeover> Takeover::Start(EventLoop* loop,
                                          TakeoverMode mode) {
  std::unique_ptr<Takeover> takeover(new Takeover(loop, mode));
  absl::Status status = takeover->Begin();
  // A kernel without netfilter has nothing to take over from.
  if (!status.ok()) {
    spdlog::warn("msg=\"cannot look for kube-proxy's rules, connections through "
                 "them may end\" error=\"{}\"",
                 status.ToString());
  }
  return takeover;
}

absl::Status Takeover::Begin() {
  FL_ASSIGN_OR_RETURN(rules_, FindKubeProxyRules());
  // They keep a takeover of an earlier run going.
  FL_ASSIGN_OR_RETURN(bool holders, HoldersThere());
  if (mode_ == TakeoverMode::kOff) {
    if (rules_.any()) {
      spdlog::warn("msg=\"connections through kube-proxy's rules end\" "
                   "takeover=off rules=\"{}\"",
                   rules_.ToString());
    }
    return DeleteHolders();
  }
  if (mode_ == TakeoverMode::kAuto && !rules_.any() && !holders) {
    return absl::OkStatus();
  }
  FL_ASSIGN_OR_RETURN(netlink::Conntrack conntrack,
                      netlink::Conntrack::Open());
  conntrack_.emplace(std::move(conntrack));
  stats_.on = true;
  spdlog::info("msg=\"taking over from kube-proxy\" rules=\"{}\"",
               rules_.ToString());
  return AddHolders();
}

void Takeover::AttachTo(World world) {
  world_ = std::move(world);
  Refresh();
}

void Takeover::Published() {
  if (!on() || published_) return;
  published_ = true;
  Refresh();
}

void Takeover::Refresh() {
  if (!on()) return;
  const absl::Duration start = Clock::Real().Monotonic();
  absl::Status status = Look();
  if (!status.ok()) {
    ++stats_.errors;
    spdlog::error("msg=\"cannot tell which flows are kube-proxy's\" "
                  "error=\"{}\"",
                  status.ToString());
  }
  if (on()) Schedule(Clock::Real().Monotonic() - start);
}

void Takeover::Schedule(absl::Duration took) {
  timer_ = loop_->After(std::max(kPeriod, took * kShare),
                        [this] { Refresh(); });
}

absl::Status Takeover::FindFrontends() {
  frontends_.clear();
  return world_.datapath->maps().ForEachService(
      [this](const fl_service_key& key, const fl_service&) {
        frontends_.insert({reconcile::FromAbi(key.addr), ntohs(key.port),
                           static_cast<Protocol>(key.proto)});
      });
}

bool Takeover::IsFrontend(const L4Address& address) const {
  return frontends_.contains(address) ||
         frontends_.contains(
             {IpAddress::Unspecified(address.address.family()), address.port,
              address.protocol});
}

absl::Status Takeover::Look() {
  FL_ASSIGN_OR_RETURN(rules_, FindKubeProxyRules());
  FL_ASSIGN_OR_RETURN(std::vector<netlink::TranslatedFlow> flows,
                      conntrack_->Translated());
  if (published_) FL_RETURN_IF_ERROR(FindFrontends());
  std::vector<fl_flow_key> keys;
  stats_.flows = 0;
  for (const netlink::TranslatedFlow& flow : flows) {
    if (flow.over) continue;
    // All are listed: to what isn't a frontend yet, too, it may become one.
    if (published_ && IsFrontend(flow.frontend)) ++stats_.flows;
    AppendForeignKeys(flow, world_.is_local(flow.client.address), &keys);
  }
  absl::Status status = world_.datapath->SetForeignFlows(keys);
  if (status.ok() && published_ && stats_.flows == 0 && !rules_.any() &&
      mode_ != TakeoverMode::kOn) {
    End();
  }
  return status;
}

void Takeover::End() {
  absl::Status status = DeleteHolders();
  if (!status.ok()) {
    spdlog::warn("msg=\"cannot remove the table that kept netfilter at work\" "
                 "table={} error=\"{}\"",
                 kHolderTable, status.ToString());
  }
  stats_.on = false;
  timer_ = Timer();
  spdlog::info("msg=\"took over from kube-proxy: no flow of its rules is left\"");
  world_.on_end();
}

}  // namespace fairlead::agent
