// SPDX-License-Identifier: Apache-2.0
// Hostile packets through the loaded programs: rows with names, and very many
// mutants of valid frames. Whatever comes, one counter says what became of it,
// the action is the counter's, what isn't ours passes as it is, what is
// translated is translated and nothing else, and no flow is left behind that
// wasn't counted.
//
// Two runs with the same --gtest_random_seed are the same.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstring>
#include <random>

#include "bpf/abi/types.h"
#include "bpf/tc.skel.h"
#include "tests/prog/hostile_check.h"
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr int kMutants = 200000;
constexpr int kBatch = 2000;
constexpr uint16_t kPort = 40000;
constexpr uint16_t kNodePort = 30080;

enum FrontendPort : uint16_t {
  kMasqueraded = 80,
  kPlain = 81,
  kRefused = 82,
  kDropped = 83,
  kRanges = 84,
};

struct Names {
  bool ipv6;
  // `bare`: with an EtherType where the kernel looks for one, though there is
  // no link header: BPF_PROG_RUN takes every frame for Ethernet.
  std::string client, bare, vip, node, cluster_ip, backend1, backend2,
      masquerade, zero;
};
const Names kNames[] = {
    {false, "192.0.2.10", "8.0.2.10", "198.51.100.1", "203.0.113.7",
     "198.19.0.1", "10.1.1.5", "10.1.2.6", kMasquerade4, "0.0.0.0"},
    {true, "2001:db8:1::10", "2001:db8:86dd::10", "2001:db8:2::1",
     "2001:db8:3::7", "2001:db8:f::1", "2001:db8:10:1::5",
     "2001:db8:10:2::6", kMasquerade6, "::"}};

constexpr uint8_t kNumbers[] = {6, 17, 132};

Packet Net(const Names& n, const std::string& src, const std::string& dst) {
  if (n.ipv6) return Eth{} / Ip6{.src = src, .dst = dst};
  return Eth{} / Ip4{.src = src, .dst = dst};
}

Packet With(Packet net, uint8_t proto, uint16_t sport, uint16_t dport,
            uint8_t flags = kSyn) {
  if (proto == 6) {
    return std::move(net) / Tcp{.sport = sport, .dport = dport, .flags = flags};
  }
  if (proto == 17) {
    return std::move(net) / Udp{.sport = sport, .dport = dport} /
           Payload{"hostile"};
  }
  const uint8_t chunk = flags & kSyn ? (flags & kAck ? 2 : 1) : 0;
  return std::move(net) / Sctp{.sport = sport, .dport = dport, .chunk = chunk} /
         Payload{std::string(16, 's')};
}

class Hostile : public testing::Test {
 protected:
  void SetUp() override {
    BuildWorld();
    ReadCounts(&counts_);
  }

  static TcRun& run() {
    static auto* run = new TcRun(Config());
    return *run;
  }
  static fl_config Config() {
    fl_config config = TcRun::DefaultConfig();
    config.event_sample = 0;
    return config;
  }

  void BuildWorld() {
    run().Clear();
    backends_.clear();
    uint32_t id = 1;
    for (const Names& n : kNames) {
      for (uint8_t proto : kNumbers) {
        run().AddBackend(id, n.backend1, 8080, proto);
        run().AddBackend(id + 1, n.backend2, 8081, proto);
        AddFrontends(n, proto, {id, id + 1});
        id += 2;
      }
      backends_.push_back(Addr(n.backend1));
      backends_.push_back(Addr(n.backend2));
      run().AddNodeAddress(n.node, FL_NODE_ADDR_NODE_PORT | FL_NODE_ADDR_LOCAL);
      run().AddNodeAddress(n.masquerade, FL_NODE_ADDR_LOCAL);
    }
  }

  static void AddFrontends(const Names& n, uint8_t proto,
                           const std::vector<uint32_t>& backends) {
    auto add = [&](const std::string& address, uint16_t port, uint32_t flags,
                   fl_verdict verdict = FL_VERDICT_FORWARD) {
      run().AddFrontend({.address = address,
                         .port = port,
                         .protocol = proto,
                         .backends = backends,
                         .flags = flags,
                         .internal_verdict = verdict,
                         .external_verdict = verdict});
    };
    add(n.vip, kMasqueraded, FL_SERVICE_MASQ_OUTSIDE);
    add(n.vip, kPlain, 0);
    add(n.vip, kRefused, 0, FL_VERDICT_REJECT);
    add(n.vip, kDropped, 0, FL_VERDICT_DROP);
    add(n.vip, kRanges, FL_SERVICE_SOURCE_RANGES);
    add(n.cluster_ip, kMasqueraded, FL_SERVICE_MASQ_OUTSIDE);
    add(n.zero, kNodePort, FL_SERVICE_NODE_PORT | FL_SERVICE_MASQ_OUTSIDE);
  }

  // Runs and judges; the verdict's name, or "refused by the kernel".
  std::string Judge(Hook hook, const Bytes& frame, uint32_t mark = 0) {
    std::array<uint64_t, FL_COUNTER_MAX> after;
    struct __sk_buff in = {}, out = {};
    in.mark = mark;
    last_.assign(frame.size() + 512, 0);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = frame.size();
    options.data_out = last_.data();
    options.data_size_out = last_.size();
    options.ctx_in = &in;
    options.ctx_size_in = sizeof(in);
    options.ctx_out = &out;
    options.ctx_size_out = sizeof(out);
    if (bpf_prog_test_run_opts(run().program_fd(hook), &options) != 0) {
      EXPECT_EQ(errno, EINVAL) << "too short to be a packet, if anything";
      return "refused by the kernel";
    }
    last_.resize(options.data_size_out);
    last_mark_ = out.mark;
    ReadCounts(&after);
    Verdict verdict = {.hook = hook,
                       .action = static_cast<int>(options.retval)};
    for (size_t i = 0; i < after.size(); ++i) {
      for (uint64_t n = counts_[i]; n < after[i]; ++n) {
        verdict.counters.push_back(CounterName(static_cast<uint32_t>(i)));
      }
    }
    counts_ = after;
    const std::string problem = Problem(verdict, backends_, frame, last_);
    EXPECT_EQ(problem, "") << DescribeRun(hook, mark, frame);
    return verdict.counters.empty() ? "nothing" : verdict.counters[0];
  }
  std::string Judge(Hook hook, const Packet& packet, uint32_t mark = 0) {
    return Judge(hook, packet.Build(), mark);
  }

  std::string DescribeRun(Hook hook, uint32_t mark, const Bytes& frame) const {
    constexpr const char* kHooks[] = {"ingress", "egress", "ingress, bare",
                                      "egress, bare"};
    return std::string(kHooks[static_cast<int>(hook)]) +
           (mark ? ", marked: " : ": ") + Hex(frame) + "\n -> " + Hex(last_) +
           "\n" + packet::Diff(frame, last_);
  }

  static void ReadCounts(std::array<uint64_t, FL_COUNTER_MAX>* counts) {
    static const auto cpus = static_cast<size_t>(libbpf_num_possible_cpus());
    std::vector<fl_counter> values(FL_COUNTER_MAX * cpus);
    std::array<uint32_t, FL_COUNTER_MAX> keys;
    uint32_t count = FL_COUNTER_MAX, next = 0;
    const int error = bpf_map_lookup_batch(
        bpf_map__fd(run().skeleton()->maps.fl_counter), nullptr, &next,
        keys.data(), values.data(), &count, nullptr);
    ASSERT_TRUE(error == 0 || errno == ENOENT) << strerror(errno);
    ASSERT_EQ(count, FL_COUNTER_MAX);
    counts->fill(0);
    for (size_t i = 0; i < count; ++i) {
      for (size_t cpu = 0; cpu < cpus; ++cpu) {
        (*counts)[keys[i]] += values[i * cpus + cpu].packets;
      }
    }
  }

  // Flows, and entries that belong to none.
  struct Flows {
    int whole = 0;
    int orphans = 0;
  };
  Flows CountFlows();

  const Bytes& last() const { return last_; }
  uint32_t last_mark() const { return last_mark_; }

  std::vector<fl_addr> backends_;
  std::array<uint64_t, FL_COUNTER_MAX> counts_ = {};

 private:
  Bytes last_;
  uint32_t last_mark_ = 0;
};

Hostile::Flows Hostile::CountFlows() {
  Flows flows;
  auto flow_of_answer = [&](const fl_flow_key& d, const fl_flow& flow) {
    fl_flow_key a = d;
    a.src = d.dst;
    a.sport = d.dport;
    a.dst = flow.addr;
    a.dport = flow.port;
    a.hook = FL_HOOK_INGRESS;
    return run().Flow(a).has_value();
  };
  auto answer_of_masquerade = [&](const fl_flow_key& c, const fl_flow& flow) {
    fl_flow_key d = c;
    d.dst = flow.addr;
    d.dport = flow.port;
    d.hook = FL_HOOK_EGRESS;
    const auto found = run().Flow(d);
    return found.has_value() && found->source_port == c.dport;
  };
  run().ForEachFlow([&](const fl_flow_key& key, const fl_flow& flow) {
    if (key.hook >= FL_HOOK_FRAGMENT) return;
    const bool reply = flow.flags & FL_FLOW_REPLY;
    flows.whole += !reply;
    if (reply && !(key.hook == FL_HOOK_EGRESS
                       ? flow_of_answer(key, flow)
                       : answer_of_masquerade(key, flow))) {
      ++flows.orphans;
    }
  });
  return flows;
}

// ---- rows ----

class HostileRow : public Hostile,
                   public testing::WithParamInterface<std::tuple<int, int>> {
 protected:
  const Names& n() const { return kNames[std::get<0>(GetParam())]; }
  uint8_t proto() const { return kNumbers[std::get<1>(GetParam())]; }
  Packet Flow(const std::string& src, uint16_t sport, const std::string& dst,
              uint16_t dport, uint8_t flags = kSyn) const {
    return With(Net(n(), src, dst), proto(), sport, dport, flags);
  }
  // Offsets of a frame that has neither tags, options nor extensions.
  size_t l4() const { return n().ipv6 ? 54 : 34; }
  size_t checksum_at() const {
    return l4() + (proto() == 6 ? 16 : proto() == 17 ? 6 : 8);
  }
  // Of IPv4 with "more fragments" at 0, of IPv6 with a header of its own.
  Packet Fragment(uint16_t offset, bool more, uint16_t dport) const {
    Packet net =
        n().ipv6
            ? Eth{} / Ip6{.src = n().client, .dst = n().vip} /
                  Frag6{.offset = offset, .more = more, .next_header = proto()}
            : Packet({Eth{}}) /
                  Ip4{.src = n().client,
                      .dst = n().vip,
                      .fragment = static_cast<uint16_t>((more ? 0x2000 : 0) |
                                                        offset / 8),
                      .protocol = proto()};
    if (offset != 0) return std::move(net) / Payload{std::string(24, 'f')};
    return With(std::move(net), proto(), kPort, dport);
  }
};

std::string HostileRowName(
    const testing::TestParamInfo<std::tuple<int, int>>& info) {
  constexpr const char* kProtocols[] = {"Tcp", "Udp", "Sctp"};
  return std::string(std::get<0>(info.param) ? "V6" : "V4") +
         kProtocols[std::get<1>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(All, HostileRow,
                         testing::Combine(testing::Range(0, 2),
                                          testing::Range(0, 3)),
                         HostileRowName);

// There, masqueraded, and back: Judge() compares what is wrong before and
// after. And it is wrong.
TEST_P(HostileRow, AWrongTransportChecksumStaysAsWrong) {
  for (uint8_t bit : {0x01, 0x80}) {
    BuildWorld();
    auto spoil = [&](Bytes frame) {
      frame[checksum_at()] ^= bit;
      EXPECT_NE(Describe(frame).errors, std::vector<std::string>{});
      return frame;
    };
    ASSERT_EQ(Judge(Hook::kIngress,
                    spoil(Flow(n().client, kPort, n().vip, 80).Build())),
              "FORWARD_NEW");
    EXPECT_NE(Describe(last()).errors, std::vector<std::string>{});
    const Bytes in = last();
    ASSERT_EQ(Judge(Hook::kEgress, in, last_mark()), "SOURCE_TRANSLATED");
    EXPECT_NE(Describe(last()).errors, std::vector<std::string>{});
    ASSERT_EQ(Judge(Hook::kIngress,
                    spoil(Flow(n().client, kPort, n().vip, 80, kAck).Build())),
              "FORWARD_HIT");
    EXPECT_NE(Describe(last()).errors, std::vector<std::string>{});
  }
}

TEST_P(HostileRow, AWrongHeaderChecksumStaysAsWrong) {
  if (n().ipv6) return;  // has none
  Bytes frame = Flow(n().client, kPort, n().vip, 80).Build();
  frame[14 + 10] ^= 0x40;
  ASSERT_EQ(Judge(Hook::kIngress, frame), "FORWARD_NEW");
  EXPECT_EQ(Describe(last()).errors, Describe(frame).errors);
  EXPECT_EQ(Describe(frame).errors.size(), 1u);
}

// Each first fragment is judged by its own ports, whatever came before under
// its id; a fragment that lies over its ports isn't read for any.
TEST_P(HostileRow, OverlappingFragments) {
  if (proto() == 132) {
    // Its checksum covers what isn't there yet.
    EXPECT_EQ(Judge(Hook::kIngress, Fragment(0, true, kPlain)),
              "DROP_REWRITE");
    EXPECT_EQ(CountFlows().whole, 0);
    EXPECT_EQ(Judge(Hook::kIngress, Fragment(8, false, 0)), "DROP_FRAGMENT");
    return;
  }
  ASSERT_EQ(Judge(Hook::kIngress, Fragment(0, true, kPlain)), "FORWARD_NEW");
  EXPECT_EQ(Judge(Hook::kIngress, Fragment(8, true, 0)), "FORWARD_HIT");
  EXPECT_EQ(Judge(Hook::kIngress, Fragment(8, false, 0)), "FORWARD_HIT");
  EXPECT_EQ(Judge(Hook::kIngress, Fragment(0, true, kDropped)), "DROP_POLICY");
  EXPECT_EQ(Judge(Hook::kIngress, Fragment(0, true, kRanges)),
            "DROP_SOURCE_RANGE");
  // Ends behind what any datagram can have.
  EXPECT_EQ(Judge(Hook::kIngress, Fragment(0xfff8, true, 0)), "FORWARD_HIT");
  EXPECT_EQ(CountFlows().whole, 1);
  EXPECT_EQ(CountFlows().orphans, 0);
}

TEST_P(HostileRow, PortZero) {
  EXPECT_EQ(Judge(Hook::kIngress, Flow(n().client, kPort, n().vip, 0)),
            "NOT_OURS");
  EXPECT_EQ(Judge(Hook::kIngress, Flow(n().client, 0, n().vip, 0)),
            "NOT_OURS");
  EXPECT_EQ(Judge(Hook::kIngress, Flow(n().client, 0, n().node, 0)),
            "NOT_OURS");
  EXPECT_EQ(Judge(Hook::kEgress, Flow(n().backend1, 0, n().client, 0)),
            "NOT_OURS");
  // In the range of ClusterIPs it is a port that the Service hasn't.
  EXPECT_EQ(Judge(Hook::kIngress, Flow(n().client, kPort, n().cluster_ip, 0)),
            "REJECT_NO_SERVICE");
  EXPECT_EQ(CountFlows().whole, 0);
  // A client's port is the client's business: its flow is one as any.
  EXPECT_EQ(Judge(Hook::kIngress, Flow(n().client, 0, n().vip, kPlain)),
            "FORWARD_NEW");
  const Bytes in = last();
  const bool first = SameAddress(PacketDestination(in), Addr(n().backend1));
  EXPECT_EQ(Judge(Hook::kEgress,
                  Flow(first ? n().backend1 : n().backend2,
                       first ? 8080 : 8081, n().client, 0, kSyn | kAck)),
            "REPLY_HIT");
  EXPECT_EQ(CountFlows().whole, 1);
}

// Nobody is at the unspecified address: not the NodePorts, whose frontend is
// written with it, either.
TEST_P(HostileRow, TheUnspecifiedAddress) {
  for (uint16_t port : {uint16_t{0}, uint16_t{80}, kNodePort}) {
    EXPECT_EQ(Judge(Hook::kIngress, Flow(n().client, kPort, n().zero, port)),
              "NOT_OURS")
        << port;
    EXPECT_EQ(Judge(Hook::kIngress, Flow(n().zero, port, n().zero, port)),
              "NOT_OURS")
        << port;
    EXPECT_EQ(Judge(Hook::kEgress, Flow(n().client, kPort, n().zero, port)),
              "NOT_OURS")
        << port;
  }
  EXPECT_EQ(CountFlows().whole, 0);
}

// A frontend's address as the source: a client like any other towards
// frontends, and no answer of anybody's elsewhere.
TEST_P(HostileRow, AFrontendsAddressAsSource) {
  for (const std::string& vip : {n().vip, n().cluster_ip}) {
    BuildWorld();
    // At another frontend, at its own, from and to the same port.
    EXPECT_EQ(Judge(Hook::kIngress, Flow(vip, kPort, n().vip, 80)),
              "FORWARD_NEW");
    EXPECT_EQ(last_mark(), kMark);
    EXPECT_EQ(Judge(Hook::kIngress, Flow(vip, 80, vip, 80)), "FORWARD_NEW");
    const Bytes in = last();
    EXPECT_EQ(Judge(Hook::kEgress, in, last_mark()), "SOURCE_TRANSLATED");
    const Bytes out = last();
    EXPECT_EQ(Judge(Hook::kIngress, out), "NOT_OURS") << "translated once";
    EXPECT_EQ(CountFlows().whole, 2);
    // Past all frontends, with and without the mark of a flow.
    for (uint8_t flags : {kSyn, uint8_t{kSyn | kAck}, kAck}) {
      EXPECT_EQ(Judge(Hook::kIngress, Flow(vip, 80, n().client, kPort, flags)),
                "NOT_OURS");
      EXPECT_EQ(Judge(Hook::kEgress, Flow(vip, 80, n().client, kPort, flags)),
                "NOT_OURS");
    }
    EXPECT_EQ(Judge(Hook::kEgress, Flow(vip, 80, n().client, kPort), kMark),
              "DROP_NO_FLOW");
    EXPECT_EQ(CountFlows().orphans, 0);
  }
}

// A list of options that ends nowhere is the receiver's to refuse: it isn't
// read, and passes as it is. A header that is longer than the packet is ours.
TEST_P(HostileRow, OptionsThatContradictThemselves) {
  Packet net = Net(n(), n().client, n().vip);
  net = n().ipv6 ? std::move(net) / Ext6{.type = 0}
                 : Eth{} / Ip4{.src = n().client, .dst = n().vip, .options = 2};
  Bytes frame = With(std::move(net), proto(), kPort, kPlain).Build();
  const size_t options = n().ipv6 ? 14 + 40 + 2 : 14 + 20;
  for (uint8_t length : {0, 1, 255}) {
    frame[options] = 7;  // record route; a pad of IPv6's, of any length
    frame[options + 1] = length;
    const std::string verdict = Judge(Hook::kIngress, frame);
    EXPECT_TRUE(verdict == "FORWARD_NEW" || verdict == "FORWARD_HIT")
        << verdict;
  }
  Bytes longer = Flow(n().client, kPort, n().vip, kPlain).Build();
  if (n().ipv6) {
    longer[14 + 6] = 60;    // the transport header as destination options:
    longer[54] = proto();   // 2 kB of them
    longer[54 + 1] = 255;
    EXPECT_EQ(Judge(Hook::kIngress, longer), "DROP_MALFORMED");
  } else if (proto() == 6) {
    longer[14] = 0x4f;  // 60 bytes, of which 40 are there
    EXPECT_EQ(Judge(Hook::kIngress, longer), "DROP_MALFORMED");
  }
}

// Every cut of every kind of frame. What says that it is longer than it is
// is never translated, and leaves nothing.
TEST_P(HostileRow, TruncatedAnywhere) {
  Packet tagged = n().ipv6 ? Eth{} / Vlan{} / Ip6{.src = n().client,
                                                  .dst = n().vip}
                           : Eth{} / Vlan{} / Ip4{.src = n().client,
                                                  .dst = n().vip};
  Packet optioned = n().ipv6
                        ? Net(n(), n().client, n().vip) / Ext6{.type = 0} /
                              Ext6{.type = 43, .units = 1} / Ext6{.type = 60}
                        : Eth{} / Ip4{.src = n().client,
                                      .dst = n().vip,
                                      .options = 10};
  const std::pair<Packet, size_t> kinds[] = {
      {Net(n(), n().client, n().vip), 14},
      {std::move(tagged), 18},
      {std::move(optioned), 14}};
  for (const auto& [net, l3] : kinds) {
    const Bytes whole = With(net, proto(), kPort, kPlain).Build();
    for (size_t size = 14; size < whole.size(); ++size) {
      SCOPED_TRACE(size);
      const Bytes cut(whole.begin(), whole.begin() + size);
      const std::string verdict = Judge(Hook::kIngress, cut);
      const bool addressed = size >= l3 + (n().ipv6 ? 40 : 20);
      EXPECT_TRUE(verdict == "refused by the kernel" ||
                  verdict == (addressed ? "DROP_MALFORMED" : "NOT_OURS"))
          << verdict;
      (void)Judge(Hook::kEgress, cut, kMark);
    }
  }
  EXPECT_EQ(CountFlows().whole, 0);
  EXPECT_EQ(CountFlows().orphans, 0);
}

TEST_F(Hostile, AllZero) {
  for (size_t size = 14; size <= 1514; size += 10) {
    Bytes zero(size, 0);
    for (Hook hook : {Hook::kIngress, Hook::kEgress, Hook::kIngressL3,
                      Hook::kEgressL3}) {
      for (uint16_t type : {0, 0x0800, 0x86dd, 0x8100}) {
        zero[12] = static_cast<uint8_t>(type >> 8);
        zero[13] = static_cast<uint8_t>(type);
        const std::string verdict = Judge(hook, zero);
        EXPECT_TRUE(verdict == "NOT_OURS" || verdict == "refused by the kernel")
            << verdict;
      }
    }
  }
  EXPECT_EQ(CountFlows().whole, 0);
}

// ---- mutants ----

// Valid frames of every kind, of flows that exist or not, to and fro.
class Mutants : public Hostile {
 protected:
  struct Seed {
    Bytes frame;
    bool bare;
  };

  void SetUp() override {
    Hostile::SetUp();
    for (const Names& n : kNames) {
      for (uint8_t proto : kNumbers) AddSeeds(n, proto);
    }
    random_.seed(static_cast<uint32_t>(GTEST_FLAG_GET(random_seed)));
  }

  void Add(const Packet& packet) { seeds_.push_back({packet.Build(), false}); }
  // As on a device without link headers.
  void AddBare(const Packet& packet) {
    const Bytes frame = packet.Build();
    seeds_.push_back({Bytes(frame.begin() + 14, frame.end()), true});
  }

  void AddSeeds(const Names& n, uint8_t proto) {
    const uint8_t data = kAck;
    for (uint16_t port : {kMasqueraded, kPlain, kRefused, kDropped, kRanges}) {
      Add(With(Net(n, n.client, n.vip), proto, kPort, port));
    }
    for (uint16_t port : {kMasqueraded, kPlain}) {
      Add(With(Net(n, n.client, n.vip), proto, kPort, port, data));
      AddBare(With(Net(n, n.bare, n.vip), proto, kPort, port));
    }
    Add(With(Net(n, n.client, n.node), proto, kPort, kNodePort));
    Add(With(Net(n, n.client, n.cluster_ip), proto, kPort, 80));
    Add(With(Net(n, n.client, n.cluster_ip), proto, kPort, 443));
    Add(With(Net(n, n.backend1, n.vip), proto, kPort, kPlain));
    for (const auto& [from, port] : {std::pair(n.backend1, 8080),
                                     std::pair(n.backend2, 8081)}) {
      Add(With(Net(n, from, n.client), proto, static_cast<uint16_t>(port),
               kPort, kSyn | kAck));
      Add(With(Net(n, n.client, from), proto, kPort,
               static_cast<uint16_t>(port), data));
      Add(Error(n, With(Net(n, n.client, from), proto, kPort,
                        static_cast<uint16_t>(port), data)));
      for (uint16_t masqueraded : {0, 3, 6}) {
        Add(With(Net(n, from, n.masquerade), proto,
                 static_cast<uint16_t>(port),
                 static_cast<uint16_t>(kSourcePortMin + masqueraded), data));
      }
    }
    AddOdd(n, proto);
  }

  static Packet Error(const Names& n, const Packet& about) {
    const Bytes frame = about.Build();
    Packet net = Net(n, n.node, n.client);
    return std::move(net) /
           Icmp{.type = static_cast<uint8_t>(n.ipv6 ? 2 : 3),
                .code = static_cast<uint8_t>(n.ipv6 ? 0 : 4),
                .rest = 1280} /
           Payload{std::string(frame.begin() + 14, frame.end())};
  }

  // Fragments, tags, options, extension headers.
  void AddOdd(const Names& n, uint8_t proto) {
    auto tagged = [&](Packet net) {
      Add(With(std::move(net), proto, kPort, kMasqueraded));
    };
    if (n.ipv6) {
      const Ip6 ip = {.src = n.client, .dst = n.vip};
      tagged(Eth{} / Vlan{} / ip);
      tagged(Eth{} / ip / Ext6{.type = 0} / Ext6{.type = 43, .units = 2} /
             Ext6{.type = 60});
      tagged(Eth{} / ip / Frag6{});
      Add(Eth{} / ip / Frag6{.offset = 1480, .next_header = proto} /
          Payload{std::string(40, 'l')});
    } else {
      Ip4 ip = {.src = n.client, .dst = n.vip};
      tagged(Eth{} / Vlan{.type = 0x88a8} / Vlan{} / ip);
      ip.fragment = 0x2000;
      tagged(Eth{} / ip);
      Ip4 later = ip;
      later.fragment = 185;
      later.protocol = proto;
      Add(Eth{} / later / Payload{std::string(40, 'l')});
      ip.fragment = 0;
      ip.options = 5;
      tagged(Eth{} / ip);
    }
  }

  uint32_t Below(size_t n) {
    return static_cast<uint32_t>(random_() % n);
  }
  // Headers matter most.
  size_t Place(const Bytes& frame) {
    const size_t near = std::min<size_t>(frame.size(), 80);
    return Below(4) ? Below(near) : Below(frame.size());
  }

  void MutateOnce(Bytes* frame) {
    Bytes& f = *frame;
    const size_t at = Place(f);
    switch (Below(7)) {
      case 0:
      case 1:
        f[at] ^= static_cast<uint8_t>(1u << Below(8));
        break;
      case 2:
        f[at] = static_cast<uint8_t>(Below(256));
        break;
      case 3:  // cut
        f.resize(14 + Below(f.size() - 13));
        break;
      case 4: {  // two words change places
        const size_t other = Place(f);
        const size_t room = f.size() - std::max(at, other);
        for (size_t i = 0; i < std::min<size_t>(room, 2); ++i) {
          std::swap(f[at + i], f[other + i]);
        }
        break;
      }
      case 5:  // zeros
        for (size_t i = at; i < f.size() && i < at + 1 + Below(16); ++i) {
          f[i] = 0;
        }
        break;
      case 6:  // padding
        f.insert(f.end(), 1 + Below(60), static_cast<uint8_t>(Below(256)));
        break;
    }
  }

  // Flows that mutants meet.
  void OpenFlows() {
    BuildWorld();
    for (const Seed& seed : seeds_) {
      (void)Judge(seed.bare ? Hook::kIngressL3 : Hook::kIngress, seed.frame);
      const Bytes out = last();
      (void)Judge(seed.bare ? Hook::kEgressL3 : Hook::kEgress, out,
                  last_mark());
    }
  }

  std::vector<Seed> seeds_;
  std::mt19937 random_;
};

TEST_F(Mutants, EndInOneCountedVerdictEach) {
  std::map<std::string, int> verdicts;
  for (int batch = 0; batch < kMutants / kBatch; ++batch) {
    OpenFlows();
    const Flows before = CountFlows();
    ASSERT_EQ(before.orphans, 0);
    int opened = 0;
    for (int i = 0; i < kBatch; ++i) {
      const Seed& seed = seeds_[Below(seeds_.size())];
      Bytes mutant = seed.frame;
      for (uint32_t n = 1 + Below(3); n > 0; --n) MutateOnce(&mutant);
      const bool ingress = Below(2) == 0;
      const uint32_t mark = Below(3) == 0 ? kMark : 0;
      const Hook hook = seed.bare
                            ? ingress ? Hook::kIngressL3 : Hook::kEgressL3
                            : ingress ? Hook::kIngress : Hook::kEgress;
      const std::string verdict = Judge(hook, mutant, mark);
      opened += verdict == "FORWARD_NEW";
      ++verdicts[(ingress ? "ingress " : "egress ") + verdict];
    }
    const Flows after = CountFlows();
    EXPECT_LE(after.whole, before.whole + opened);
    EXPECT_EQ(after.orphans, 0);
    if (HasFailure()) break;
  }
  for (const auto& [verdict, count] : verdicts) {
    std::printf("  %-36s %7d\n", verdict.c_str(), count);
  }
  // They got somewhere: the rarest, REJECT_NO_PORT, comes about 25 times.
  for (const char* verdict :
       {"ingress FORWARD_NEW", "ingress FORWARD_HIT", "ingress REPLY_HIT",
        "ingress REJECT_RST", "ingress REJECT_UNREACHABLE",
        "ingress DROP_MALFORMED", "ingress DROP_FRAGMENT",
        "ingress DROP_POLICY", "ingress DROP_SOURCE_RANGE",
        "ingress REJECT_NO_PORT", "ingress DROP_TUPLE_CLASH",
        "ingress NOT_OURS", "egress NOT_OURS", "egress REPLY_HIT",
        "egress SOURCE_TRANSLATED", "egress ICMP_TRANSLATED",
        "egress DROP_NO_FLOW", "egress DROP_MALFORMED"}) {
    EXPECT_GT(verdicts[verdict], 4) << verdict;
  }
}

}  // namespace
}  // namespace fairlead::prog
