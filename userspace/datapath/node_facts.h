// SPDX-License-Identifier: Apache-2.0
// fl_node as values: this node's pods, and the ranges that ClusterIPs are from
// (service-semantics, section 14). Pure.
//
// Threads: any.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_NODE_FACTS_H_
#define FAIRLEAD_USERSPACE_DATAPATH_NODE_FACTS_H_

#include <vector>

#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"

namespace fairlead::datapath {

// An all-zero fl_prefix matches nothing.
fl_prefix ToPrefix(const IpPrefix& range);

// At most one range of each family; of several the last.
void PutNodePods(const std::vector<IpPrefix>& ranges, fl_node* node);

// What of `ranges` programs are told: sorted, none that is within another, and
// at most FL_SERVICE_RANGES of a family.
struct ServiceRanges {
  std::vector<IpPrefix> used;
  std::vector<IpPrefix> left_out;  // too many
};
ServiceRanges ChooseServiceRanges(std::vector<IpPrefix> ranges);

// REQUIRES: `ranges` are ServiceRanges::used.
void PutServiceRanges(const std::vector<IpPrefix>& ranges, fl_node* node);
// Those that `node` has, IPv4 first.
std::vector<IpPrefix> ServiceRangesOf(const fl_node& node);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_NODE_FACTS_H_
