// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/foreign_keys.h"

#include <arpa/inet.h>

#include "userspace/reconcile/plan.h"

namespace fairlead::agent {
namespace {

fl_flow_key Key(const L4Address& from, const L4Address& to, fl_hook hook) {
  fl_flow_key key = {};
  key.src = reconcile::ToAbi(from.address);
  key.dst = reconcile::ToAbi(to.address);
  key.sport = htons(from.port);
  key.dport = htons(to.port);
  key.proto = static_cast<uint8_t>(from.protocol);
  key.hook = static_cast<uint8_t>(hook);
  return key;
}

}  // namespace

void AppendForeignKeys(const netlink::TranslatedFlow& flow, bool of_host,
                       std::vector<fl_flow_key>* keys) {
  const bool udp = flow.client.protocol == Protocol::kUdp;
  if (udp || flow.opening) {
    keys->push_back(Key(flow.client, flow.frontend, FL_HOOK_INGRESS));
  }
  if (flow.answers_to != flow.client) {
    keys->push_back(Key(flow.endpoint, flow.answers_to, FL_HOOK_INGRESS));
  }
  if (!udp) return;
  fl_flow_key socket = Key(flow.client, flow.frontend, FL_HOOK_SOCKET);
  socket.src = {};
  socket.src.w[3] = of_host ? FL_FOREIGN_HOST : FL_FOREIGN_POD;
  keys->push_back(socket);
}

}  // namespace fairlead::agent
