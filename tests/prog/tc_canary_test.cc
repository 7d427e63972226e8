// SPDX-License-Identifier: Apache-2.0
// Must fail (WILL_FAIL): proves that the rows' comparison can.
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

TEST(TcCanary, ExpectsAPacketThatTheProgramDoesNotMake) {
  TcRun run;
  Packet packet = Eth{} / Ip4{} / Tcp{};
  Expect(run.Run(Hook::kIngress, packet.Build()), "NOT_OURS", TC_ACT_UNSPEC,
         Eth{} / Ip4{.ttl = 63} / Tcp{});
}

}  // namespace
}  // namespace fairlead::prog
