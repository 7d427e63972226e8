// SPDX-License-Identifier: Apache-2.0
// The bytes of a packet to try, and back: Ethernet, IP without options, one
// transport header. Pure functions.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_TRIAL_FRAME_H_
#define FAIRLEAD_USERSPACE_DATAPATH_TRIAL_FRAME_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "userspace/base/ip_address.h"

namespace fairlead::datapath {

// With right checksums but for SCTP's, which is zero. `opening`: a SYN or an
// INIT; else an ACK or a COOKIE ACK.
std::vector<uint8_t> BuildFrame(const L4Address& source,
                                const L4Address& destination, bool opening);

// The addresses of a frame that BuildFrame() made, after a translation.
L4Address FrameSource(absl::Span<const uint8_t> frame, Protocol protocol);
L4Address FrameDestination(absl::Span<const uint8_t> frame, Protocol protocol);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_TRIAL_FRAME_H_
