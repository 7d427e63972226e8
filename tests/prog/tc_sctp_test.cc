// SPDX-License-Identifier: Apache-2.0
// SCTP on the packet path. No kernel at hand has it, so associations are
// played packet by packet; the checksum is computed anew over each result.
#include <gtest/gtest.h>

#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr uint16_t kPort = 40000;
constexpr uint8_t kSctp = 132;
constexpr uint8_t kData = 0, kInit = 1, kInitAck = 2, kAbort = 6;

class TcSctp : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    run().Clear();
    run().AddBackend(1, w().backend1, 8081, kSctp);
  }
  TcRun& run() { return SharedRun(); }
  const World& w() const { return GetParam() ? kWorld6 : kWorld4; }
  std::string masquerade() const {
    return GetParam() ? kMasquerade6 : kMasquerade4;
  }
  void AddFrontend(uint32_t flags = 0) {
    run().AddFrontend({.address = w().vip,
                       .protocol = kSctp,
                       .backends = {1},
                       .flags = flags});
  }
  Packet Net(const std::string& src, const std::string& dst) const {
    if (GetParam()) return Eth{} / Ip6{.src = src, .dst = dst};
    return Eth{} / Ip4{.src = src, .dst = dst};
  }
  Packet Association(const std::string& src, uint16_t sport,
                     const std::string& dst, uint16_t dport, uint8_t chunk,
                     size_t bytes = 16, bool checksum = true) const {
    return Net(src, dst) /
           Sctp{.sport = sport,
                .dport = dport,
                .chunk = chunk,
                .checksum = checksum} /
           Payload{std::string(bytes, 'x')};
  }
  Result Run(Hook hook, const Packet& packet, uint32_t mark = 0,
             bool complete = false) {
    return run().Run(hook, packet.Build(), mark, complete);
  }
};

INSTANTIATE_TEST_SUITE_P(Families, TcSctp, testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "V6" : "V4";
                         });

// Every length's bits take part in the checksum's change.
TEST_P(TcSctp, TranslatedThereAndBackAtAnyLength) {
  AddFrontend();
  for (size_t bytes : {4, 8, 12, 16, 100, 252, 1000, 1400}) {
    Packet init =
        Association(w().client, kPort, w().vip, 80, kInit, bytes);
    Result in = Run(Hook::kIngress, init);
    Expect(in, bytes == 4 ? "FORWARD_NEW" : "FORWARD_HIT", TC_ACT_UNSPEC,
           Association(w().client, kPort, w().backend1, 8081, kInit, bytes));
    Expect(Run(Hook::kEgress, Association(w().backend1, 8081, w().client,
                                          kPort, kInitAck, bytes)),
           "REPLY_HIT", TC_ACT_UNSPEC,
           Association(w().vip, 80, w().client, kPort, kInitAck, bytes));
  }
}

TEST_P(TcSctp, ADevicesSumStaysRight) {
  AddFrontend();
  Expect(Run(Hook::kIngress,
             Association(w().client, kPort, w().vip, 80, kInit), 0, true),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         Association(w().client, kPort, w().backend1, 8081, kInit));
}

TEST_P(TcSctp, AChecksumThatADeviceFillsInStaysZero) {
  AddFrontend();
  Expect(Run(Hook::kIngress, Association(w().client, kPort, w().vip, 80,
                                         kInit, 16, false)),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         Association(w().client, kPort, w().backend1, 8081, kInit, 16, false));
}

TEST_P(TcSctp, Masquerade) {
  AddFrontend(FL_SERVICE_MASQ_OUTSIDE);
  Result in =
      Run(Hook::kIngress, Association(w().client, kPort, w().vip, 80, kInit));
  Expect(in, "FORWARD_NEW", TC_ACT_UNSPEC,
         Association(w().client, kPort, w().backend1, 8081, kInit));
  ASSERT_EQ(in.mark, kMark);
  Result out = run().Run(Hook::kEgress, in.frame, in.mark);
  const size_t at = GetParam() ? 54 : 34;  // of SCTP
  ASSERT_GT(out.frame.size(), at + 1);
  const uint16_t port = out.frame[at] << 8 | out.frame[at + 1];
  EXPECT_TRUE(port >= kSourcePortMin && port <= kSourcePortMax) << port;
  Expect(out, "SOURCE_TRANSLATED", TC_ACT_UNSPEC,
         Association(masquerade(), port, w().backend1, 8081, kInit));
  // And the way back, in two steps.
  in = Run(Hook::kIngress,
           Association(w().backend1, 8081, masquerade(), port, kInitAck));
  Expect(in, "REPLY_HIT", TC_ACT_UNSPEC,
         Association(w().backend1, 8081, w().client, kPort, kInitAck));
  Expect(run().Run(Hook::kEgress, in.frame, in.mark), "REPLY_HIT",
         TC_ACT_UNSPEC, Association(w().vip, 80, w().client, kPort, kInitAck));
}

TEST_P(TcSctp, OnlyAnInitOpensAFlow) {
  AddFrontend();
  for (uint8_t chunk : {kData, kInitAck, kAbort}) {
    ExpectDropped(
        Run(Hook::kIngress,
            Association(w().client, kPort, w().vip, 80, chunk)),
        "DROP_NO_FLOW");
  }
  EXPECT_EQ(run().FlowCount(), 0);
}

TEST_P(TcSctp, AnAssociationOutlivesItsEndpointsRemoval) {
  AddFrontend();
  (void)Run(Hook::kIngress,
            Association(w().client, kPort, w().vip, 80, kInit));
  run().SetBackendState(1, FL_BACKEND_OFF);
  Expect(Run(Hook::kIngress,
             Association(w().client, kPort, w().vip, 80, kData)),
         "FORWARD_HIT", TC_ACT_UNSPEC,
         Association(w().client, kPort, w().backend1, 8081, kData));
}

TEST_P(TcSctp, WithoutEndpointsPortUnreachable) {
  run().AddFrontend({.address = w().vip,
                     .protocol = kSctp,
                     .internal_verdict = FL_VERDICT_REJECT,
                     .external_verdict = FL_VERDICT_REJECT});
  Result out =
      Run(Hook::kIngress, Association(w().client, kPort, w().vip, 80, kInit));
  EXPECT_EQ(out.counters, std::vector<std::string>{"REJECT_UNREACHABLE"});
  EXPECT_EQ(packet::Describe(out.frame).errors, std::vector<std::string>{});
}

TEST_P(TcSctp, CutShortIsMalformed) {
  AddFrontend();
  Bytes frame =
      Association(w().client, kPort, w().vip, 80, kInit).Build();
  frame.resize(14 + (GetParam() ? 40 : 20) + 14);
  EXPECT_EQ(run().Run(Hook::kIngress, frame).counters,
            std::vector<std::string>{"DROP_MALFORMED"});
}

}  // namespace
}  // namespace fairlead::prog
