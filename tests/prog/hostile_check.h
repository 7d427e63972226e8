// SPDX-License-Identifier: Apache-2.0
// What must hold of any frame that went through a program, however odd it is:
// read from the bytes before and after, with a dissector that shares nothing
// with the programs' parser. Pure.
#ifndef FAIRLEAD_TESTS_PROG_HOSTILE_CHECK_H_
#define FAIRLEAD_TESTS_PROG_HOSTILE_CHECK_H_

#include <string>
#include <vector>

#include "bpf/abi/types.h"
#include "tests/prog/packet.h"
#include "tests/prog/tc_run.h"

namespace fairlead::prog {

struct Verdict {
  Hook hook = Hook::kIngress;
  int action = 0;
  std::vector<std::string> counters;
};

// Empty, or what is wrong:
//   - not one counter, or one that the hook has no business with
//   - another action than the counter's
//   - not ours, and changed
//   - translated, and more than an address, a port and checksums changed; or a
//     checksum is more or less wrong than it was; or it goes to no backend
//   - refused, and the answer is no packet to who sent it
std::string Problem(const Verdict& verdict,
                    const std::vector<fl_addr>& backends,
                    const packet::Bytes& before, const packet::Bytes& after);

// Of an IP packet behind an Ethernet header, with or without tags.
fl_addr PacketDestination(const packet::Bytes& frame);

std::string Hex(const packet::Bytes& bytes);

bool SameAddress(const fl_addr& a, const fl_addr& b);

}  // namespace fairlead::prog

#endif  // FAIRLEAD_TESTS_PROG_HOSTILE_CHECK_H_
