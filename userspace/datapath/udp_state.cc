// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/udp_state.h"

#include <netinet/in.h>

#include <optional>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

using reconcile::FromAbi;
using reconcile::ToAbi;

L4Address Udp(const fl_addr& address, __be16 port) {
  return {FromAbi(address), ntohs(port), Protocol::kUdp};
}

// A client's first direction, which decides where its datagrams go ("A" in
// bpf/lib/flow.h).
bool IsForward(const fl_flow_key& key, const fl_flow& flow) {
  return key.proto == IPPROTO_UDP && key.hook == FL_HOOK_INGRESS &&
         (flow.flags & FL_FLOW_REPLY) == 0;
}

bool SameBackend(const fl_flow& a, const fl_flow& b) {
  return a.port == b.port && FromAbi(a.addr) == FromAbi(b.addr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<UdpState>> UdpState::Open(
    const PinLayout& layout) {
  std::unique_ptr<UdpState> state(new UdpState());
  FL_ASSIGN_OR_RETURN(state->flows_, FlowTable::Open(layout));
  FL_ASSIGN_OR_RETURN(PinnedMap sockets, OpenPinnedMap(layout, "fl_socket"));
  FL_ASSIGN_OR_RETURN(PinnedMap peers, OpenPinnedMap(layout, "fl_peer"));
  state->sockets_ = {"fl_socket", std::move(sockets.fd)};
  state->peers_ = std::move(peers.fd);
  state->peer_entries_ = peers.max_entries;
  return state;
}

absl::StatusOr<UdpState::Removed> UdpState::RemoveFlows(
    Serves serves, const std::vector<IpAddress>& masquerade) {
  Removed result;
  std::vector<std::pair<fl_flow_key, fl_flow>> stale;
  FL_RETURN_IF_ERROR(
      flows_.ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
        ++result.looked_at;
        if (IsForward(key, flow) &&
            !serves(Udp(key.dst, key.dport), Udp(flow.addr, flow.port))) {
          stale.emplace_back(key, flow);
        }
        return true;
      }));
  for (const auto& [key, flow] : stale) {
    FL_RETURN_IF_ERROR(RemoveFlow(key, flow, masquerade));
  }
  result.removed = stale.size();
  return result;
}

absl::Status UdpState::RemoveFlow(const fl_flow_key& key, const fl_flow& flow,
                                  const std::vector<IpAddress>& masquerade) {
  // The client may have begun anew, with another endpoint.
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> now, flows_.Lookup(key));
  if (!now.has_value() || !SameBackend(*now, flow)) return absl::OkStatus();
  // First what decides: no datagram may find it without the others.
  FL_RETURN_IF_ERROR(flows_.Delete(key));
  fl_flow_key answer = AnswerKey(key, flow);
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> d, flows_.Lookup(answer));
  if (!d.has_value() || d->port != key.dport ||
      FromAbi(d->addr) != FromAbi(key.dst)) {
    return absl::OkStatus();
  }
  FL_RETURN_IF_ERROR(flows_.Delete(answer));
  if (d->source_port == 0) return absl::OkStatus();
  // "C" holds the source port, unless another client has taken that over.
  for (const IpAddress& address : masquerade) {
    if (address.family() != FromAbi(flow.addr).family()) continue;
    fl_flow_key source = answer;
    source.dst = ToAbi(address);
    source.dport = d->source_port;
    source.hook = FL_HOOK_INGRESS;
    FL_ASSIGN_OR_RETURN(std::optional<fl_flow> c, flows_.Lookup(source));
    if (c.has_value() && c->port == key.sport &&
        FromAbi(c->addr) == FromAbi(key.src)) {
      FL_RETURN_IF_ERROR(flows_.Delete(source));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<UdpState::Removed> UdpState::RemoveEndpoints(Serves serves) {
  Removed result;
  std::vector<fl_socket_key> stale;
  FL_RETURN_IF_ERROR(
      sockets_.ForEach([&](const fl_socket_key& key, const fl_socket& value) {
        ++result.looked_at;
        // What shows late answers under the frontend's name stays.
        if (key.proto == IPPROTO_UDP && key.direction == FL_SOCKET_FORWARD &&
            !serves(Udp(key.addr, key.port), Udp(value.addr, value.port))) {
          stale.push_back(key);
        }
        return true;
      }));
  for (const fl_socket_key& key : stale) {
    FL_RETURN_IF_ERROR(sockets_.Delete(key));
  }
  result.removed = stale.size();
  return result;
}

absl::StatusOr<std::vector<UdpState::StaleSocket>> UdpState::FindConnected(
    Serves serves) const {
  std::vector<StaleSocket> stale;
  FL_ASSIGN_OR_RETURN(
      MmapArray<fl_peer> peers,
      MmapArray<fl_peer>::Map("fl_peer", peers_.get(), peer_entries_,
                              /*writable=*/false));
  for (uint32_t i = 0; i < peers.size(); ++i) {
    const fl_peer peer = peers[i];
    if (peer.cookie == 0 || peer.proto != IPPROTO_UDP) continue;
    L4Address backend = Udp(peer.backend_addr, peer.backend_port);
    if (!serves(Udp(peer.addr, peer.port), backend)) {
      stale.push_back({peer.cookie, backend});
    }
  }
  // Those that found their place taken, and unconnected ones.
  FL_RETURN_IF_ERROR(
      sockets_.ForEach([&](const fl_socket_key& key, const fl_socket& value) {
        if (key.proto == IPPROTO_UDP && key.direction == FL_SOCKET_REPLY &&
            !serves(Udp(value.addr, value.port), Udp(key.addr, key.port))) {
          stale.push_back({key.cookie, Udp(key.addr, key.port)});
        }
        return true;
      }));
  return stale;
}

}  // namespace fairlead::datapath
