// SPDX-License-Identifier: Apache-2.0
// What the rows of the packet path's tests share: addresses by family, frames
// by direction, and the record of which cells were seen.
#ifndef FAIRLEAD_TESTS_PROG_TC_ROWS_H_
#define FAIRLEAD_TESTS_PROG_TC_ROWS_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>

#include <set>
#include <string>
#include <tuple>

#include "tests/prog/packet.h"
#include "tests/prog/tc_run.h"

namespace fairlead::prog {

using namespace packet;  // NOLINT: the sentences' words

struct Row {
  bool ipv6;
  bool udp;
  // Frames as from a device that has summed them up (CHECKSUM_COMPLETE).
  bool complete;
};

inline constexpr Row kRows[] = {
    {false, false, false}, {false, false, true}, {false, true, false},
    {false, true, true},   {true, false, false}, {true, false, true},
    {true, true, false},   {true, true, true}};
inline constexpr Row kRowsWithoutSum[] = {{false, false, false},
                                          {false, true, false},
                                          {true, false, false},
                                          {true, true, false}};
inline std::string RowName(const testing::TestParamInfo<Row>& info) {
  return std::string(info.param.ipv6 ? "V6" : "V4") +
         (info.param.udp ? "Udp" : "Tcp") +
         (info.param.complete ? "Complete" : "");
}

struct World {
  std::string client, pod, vip, node, backend1, backend2, router;
};
inline const World kWorld4 = {"192.0.2.10",   "10.1.1.9",  "198.51.100.1",
                              "203.0.113.7",  "10.1.1.5",  "10.1.2.6",
                              "192.0.2.254"};
inline const World kWorld6 = {
    "2001:db8:1::10",    "2001:db8:10:1::9", "2001:db8:2::1", "2001:db8:3::7",
    "2001:db8:10:1::5", "2001:db8:10:2::6", "2001:db8:1::fe"};

// {hook, family, protocol, counter}
using Cell = std::tuple<std::string, std::string, std::string, std::string>;
std::set<Cell>& SeenCells();

// One set of loaded programs for the whole binary: loading takes longer than
// all rows together.
TcRun& SharedRun();

class TcRows : public testing::TestWithParam<Row> {
 protected:
  void SetUp() override { run().Clear(); }

  Result Record(Hook hook, Result result);
  virtual TcRun& run() { return SharedRun(); }
  bool udp() const { return GetParam().udp; }
  bool ipv6() const { return GetParam().ipv6; }
  uint8_t proto() const { return udp() ? 17 : 6; }
  const World& w() const { return ipv6() ? kWorld6 : kWorld4; }
  std::string masquerade() const {
    return ipv6() ? kMasquerade6 : kMasquerade4;
  }

  // Ethernet and IP.
  Packet Net(const std::string& src, const std::string& dst) const {
    if (ipv6()) return Eth{} / Ip6{.src = src, .dst = dst};
    return Eth{} / Ip4{.src = src, .dst = dst};
  }
  Packet Flow(const std::string& src, uint16_t sport, const std::string& dst,
              uint16_t dport, uint8_t flags = kSyn,
              const std::string& text = "hello, world") const {
    return WithTransport(Net(src, dst), sport, dport, flags, text);
  }
  Packet WithTransport(Packet net, uint16_t sport, uint16_t dport,
                       uint8_t flags = kSyn,
                       const std::string& text = "hello, world") const {
    if (udp()) {
      return std::move(net) / Udp{.sport = sport, .dport = dport} /
             Payload{text};
    }
    return std::move(net) /
           Tcp{.sport = sport, .dport = dport, .flags = flags, .options = 3} /
           Payload{flags & kSyn ? "" : text};
  }

  Result Run(Hook hook, const Bytes& frame, uint32_t mark = 0);
  Result Run(Hook hook, const Packet& packet, uint32_t mark = 0) {
    return Run(hook, packet.Build(), mark);
  }
  // Ingress of a packet that is to be answered. Never with a device's sum: the
  // kernel forgets it (CHECKSUM_NONE) when a packet's length is changed, but
  // BPF_PROG_RUN compares it all the same.
  Result RunAnswered(const Packet& packet);

  // backend 1 and, unless `one`, backend 2 behind the VIP.
  void TwoBackends(uint32_t flags = 0, bool one = false);
  void OneBackend(uint32_t flags = 0) { TwoBackends(flags, true); }
  fl_flow_key Key(uint8_t hook, const std::string& src, uint16_t sport,
                  const std::string& dst, uint16_t dport) const;

  // The address of the backend that a forwarded frame goes to.
  std::string Destination(const Bytes& frame) const;
  uint16_t SourcePort(const Bytes& frame) const;
};

// One counter, one action, and the frame; whose checksums are all right.
void Expect(const Result& result, const std::string& counter, int action,
            const Bytes& frame);
inline void Expect(const Result& result, const std::string& counter,
                   int action, const Packet& packet) {
  Expect(result, counter, action, packet.Build());
}
// Untouched.
inline void ExpectPassed(const Result& result, const Packet& packet) {
  Expect(result, "NOT_OURS", TC_ACT_UNSPEC, packet.Build());
}
void ExpectDropped(const Result& result, const std::string& counter);

}  // namespace fairlead::prog

#endif  // FAIRLEAD_TESTS_PROG_TC_ROWS_H_
