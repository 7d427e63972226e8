// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/masquerade.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

using reconcile::FromAbi;

// The answer to this node's source port: "C" in bpf/lib/flow.h.
bool HoldsSourcePort(const fl_flow_key& key, const fl_flow& flow) {
  return key.hook == FL_HOOK_INGRESS && (flow.flags & FL_FLOW_REPLY) != 0;
}

// "D", the answer to the client.
fl_flow_key AnswerOfSource(const fl_flow_key& source, const fl_flow& flow) {
  fl_flow_key key = source;
  key.dst = flow.addr;
  key.dport = flow.port;
  key.hook = FL_HOOK_EGRESS;
  return key;
}

absl::Status RemoveFlow(FlowTable* flows, const fl_flow_key& source,
                        const fl_flow& flow) {
  const fl_flow_key answer = AnswerOfSource(source, flow);
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> d, flows->Lookup(answer));
  // Or another flow has its place.
  if (d.has_value() && d->source_port == source.dport) {
    FL_RETURN_IF_ERROR(flows->Delete(ForwardKey(answer, *d)));
    FL_RETURN_IF_ERROR(flows->Delete(answer));
  }
  return flows->Delete(source);
}

}  // namespace

absl::StatusOr<uint64_t> RemoveMasqueraded(
    FlowTable* flows, const std::vector<IpAddress>& keep) {
  std::vector<std::pair<fl_flow_key, fl_flow>> gone;
  FL_RETURN_IF_ERROR(
      flows->ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
        if (HoldsSourcePort(key, flow) &&
            std::find(keep.begin(), keep.end(), FromAbi(key.dst)) ==
                keep.end()) {
          gone.emplace_back(key, flow);
        }
        return true;
      }));
  for (const auto& [key, flow] : gone) {
    FL_RETURN_IF_ERROR(RemoveFlow(flows, key, flow));
  }
  return gone.size();
}

}  // namespace fairlead::datapath
