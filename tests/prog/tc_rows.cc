// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {

std::set<Cell>& SeenCells() {
  static auto* cells = new std::set<Cell>;
  return *cells;
}

TcRun& SharedRun() {
  static auto* run = new TcRun;
  return *run;
}

Result TcRows::Run(Hook hook, const Bytes& frame, uint32_t mark) {
  return Record(hook, run().Run(hook, frame, mark, GetParam().complete));
}

Result TcRows::RunAnswered(const Packet& packet) {
  return Record(Hook::kIngress, run().Run(Hook::kIngress, packet.Build()));
}

Result TcRows::Record(Hook hook, Result result) {
  bool ingress = hook == Hook::kIngress || hook == Hook::kIngressL3;
  for (const std::string& counter : result.counters) {
    SeenCells().insert({ingress ? "ingress" : "egress", ipv6() ? "v6" : "v4",
                        udp() ? "udp" : "tcp", counter});
  }
  return result;
}

void TcRows::TwoBackends(uint32_t flags, bool one) {
  run().AddBackend(1, w().backend1, 8080, proto());
  run().AddBackend(2, w().backend2, 8080, proto());
  Frontend frontend = {.address = w().vip, .protocol = proto()};
  frontend.backends = one ? std::vector<uint32_t>{1}
                          : std::vector<uint32_t>{1, 2};
  frontend.flags = flags;
  run().AddFrontend(frontend);
}

fl_flow_key TcRows::Key(uint8_t hook, const std::string& src, uint16_t sport,
                        const std::string& dst, uint16_t dport) const {
  fl_flow_key key = {};
  key.src = Addr(src);
  key.dst = Addr(dst);
  key.sport = htons(sport);
  key.dport = htons(dport);
  key.proto = proto();
  key.hook = hook;
  return key;
}

std::string TcRows::Destination(const Bytes& frame) const {
  char text[INET6_ADDRSTRLEN] = "";
  size_t at = ipv6() ? 14 + 24 : 14 + 16;
  if (frame.size() < at + 16) return "short frame";
  inet_ntop(ipv6() ? AF_INET6 : AF_INET, &frame[at], text, sizeof(text));
  return text;
}

uint16_t TcRows::SourcePort(const Bytes& frame) const {
  size_t at = ipv6() ? 54 : 34;
  if (frame.size() < at + 2) return 0;
  return frame[at] << 8 | frame[at + 1];
}

void Expect(const Result& result, const std::string& counter, int action,
            const Bytes& frame) {
  EXPECT_EQ(result.counters, std::vector<std::string>{counter});
  EXPECT_EQ(result.action, action);
  EXPECT_EQ(Diff(frame, result.frame), "");
  EXPECT_EQ(Describe(result.frame).errors, Describe(frame).errors);
}

void ExpectDropped(const Result& result, const std::string& counter) {
  EXPECT_EQ(result.counters, std::vector<std::string>{counter});
  EXPECT_EQ(result.action, TC_ACT_SHOT);
}

}  // namespace fairlead::prog
