// SPDX-License-Identifier: Apache-2.0
// SCTP through a real agent: no kernel at hand has its stack, so client and
// endpoint are ones of the test's own, on raw sockets. Each packet is compared
// byte by byte, checksum and all, with the one that is built from scratch for
// the addresses and ports that its receiver should see.
#include <netinet/in.h>
#include <poll.h>

#include <array>
#include <cstring>

#include "tests/netns/service_test_base.h"
#include "tests/netns/socket_address.h"
#include "tests/prog/packet.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using packet::Bytes;

constexpr absl::Duration kPatience = absl::Seconds(5);
constexpr absl::Duration kSilence = absl::Milliseconds(300);
constexpr size_t kHeader = 12;       // of SCTP: ports, tag, checksum
constexpr size_t kChunkHeader = 4;   // type, flags, length
constexpr size_t kFixedInitPart = 16;

// RFC 9260, section 3.2.
enum Chunk : uint8_t {
  kData = 0,
  kInit = 1,
  kInitAck = 2,
  kSack = 3,
  kAbort = 6,
  kShutdown = 7,
  kShutdownAck = 8,
  kCookieEcho = 10,
  kCookieAck = 11,
  kShutdownComplete = 14,
};

std::string Word(uint32_t value) {
  const uint32_t network = htonl(value);
  return std::string(reinterpret_cast<const char*>(&network), 4);
}

uint32_t WordAt(const Bytes& bytes, size_t at) {
  uint32_t network = 0;
  if (at + 4 <= bytes.size()) std::memcpy(&network, &bytes[at], 4);
  return ntohl(network);
}

Port PortAt(const Bytes& segment, size_t at) {
  return static_cast<Port>(segment[at] << 8 | segment[at + 1]);
}

// A packet of one chunk as it lies behind the IP header.
Bytes Segment(const packet::Sctp& sctp, const std::string& content) {
  constexpr size_t kHeadersAbove = 14 + 20;
  Bytes frame = (packet::Eth{} / packet::Ip4{} / sctp /
                 packet::Payload{content})
                    .Build();
  return Bytes(frame.begin() + kHeadersAbove, frame.end());
}

struct Arrival {
  IpAddress source;
  Bytes segment;
};

// One end of associations: a raw socket, which also keeps the kernel from
// answering that it has no SCTP.
class Peer {
 public:
  Peer(const Station& station, IpFamily family)
      : v4_(family == IpFamily::kIpv4) {
    EXPECT_OK(station.netns.Run([&]() -> absl::Status {
      fd_.reset(socket(v4_ ? AF_INET : AF_INET6,
                       SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                       IPPROTO_SCTP));
      const int yes = 1;
      if (!fd_.valid() ||
          setsockopt(fd_.get(), v4_ ? IPPROTO_IP : IPPROTO_IPV6,
                     v4_ ? int{IP_RECVERR} : int{IPV6_RECVERR}, &yes,
                     sizeof yes) != 0) {
        return ErrnoStatus(errno, "open", "a raw socket");
      }
      return absl::OkStatus();
    }));
  }

  void Send(const IpAddress& to, const Bytes& segment) {
    SocketAddress address({to, 0, Protocol::kSctp});
    EXPECT_EQ(sendto(fd_.get(), segment.data(), segment.size(), 0,
                     address.get(), address.size()),
              static_cast<ssize_t>(segment.size()))
        << to.ToString() << " " << strerror(errno);
  }

  // The next packet to this port; none if there is silence for so long.
  std::optional<Arrival> Receive(Port port, absl::Duration patience) {
    while (Wait(patience)) {
      std::array<uint8_t, 2048> buffer;
      SocketAddress from;
      const ssize_t size = recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                    from.get(), from.size_pointer());
      if (size < 0) return std::nullopt;
      // IPv4 comes with its header.
      const size_t skip = v4_ ? (buffer[0] & 0xf) * 4 : 0;
      Bytes segment(buffer.begin() + skip, buffer.begin() + size);
      if (segment.size() < kHeader + kChunkHeader) continue;
      if (PortAt(segment, 2) != port) continue;
      return Arrival{from.address(), std::move(segment)};
    }
    return std::nullopt;
  }

  // What the client's program is told: 0 if nothing within `patience`.
  int Error(absl::Duration patience) {
    (void)Wait(patience);
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
  }

 private:
  bool Wait(absl::Duration patience) {
    pollfd ready = {fd_.get(), POLLIN, 0};
    return poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(
                               patience))) > 0;
  }

  bool v4_;
  UniqueFd fd_;
};

// An association from its INIT on, packet by packet.
class Association {
 public:
  Association(const Station& client, const Station& endpoint,
              const L4Address& frontend, const IpAddress& source_seen)
      : frontend_(frontend),
        source_seen_(source_seen),
        client_port_(NextSourcePort()),
        client_(client, frontend.address.family()),
        endpoint_(endpoint, frontend.address.family()) {}

  Port client_port() const { return client_port_; }
  Port port_seen() const { return port_seen_; }

  // What the endpoint has got, if it is what was sent but for its ports.
  void ToEndpoint(Chunk chunk, const std::string& content, uint8_t flags = 0) {
    const uint32_t tag = chunk == kInit ? 0 : endpoint_tag_;
    client_.Send(frontend_.address,
                 Segment({.sport = client_port_,
                          .dport = frontend_.port,
                          .tag = tag,
                          .chunk = chunk,
                          .chunk_flags = flags},
                         content));
    auto arrival = endpoint_.Receive(EndpointServer::kPort, kPatience);
    ASSERT_TRUE(arrival.has_value()) << "chunk " << int{chunk} << " is lost";
    EXPECT_EQ(arrival->source.ToString(), source_seen_.ToString());
    if (chunk == kInit) port_seen_ = PortAt(arrival->segment, 0);
    EXPECT_EQ(arrival->segment, Segment({.sport = port_seen_,
                                         .dport = EndpointServer::kPort,
                                         .tag = tag,
                                         .chunk = chunk,
                                         .chunk_flags = flags},
                                        content))
        << "chunk " << int{chunk};
    at_endpoint_ = arrival->segment;
  }

  void ToClient(Chunk chunk, const std::string& content, uint8_t flags = 0) {
    // An endpoint knows of the other side what its INIT said.
    endpoint_.Send(source_seen_, Segment({.sport = EndpointServer::kPort,
                                          .dport = port_seen_,
                                          .tag = client_tag_,
                                          .chunk = chunk,
                                          .chunk_flags = flags},
                                         content));
    auto arrival = client_.Receive(client_port_, kPatience);
    ASSERT_TRUE(arrival.has_value()) << "chunk " << int{chunk} << " is lost";
    EXPECT_EQ(arrival->source.ToString(), frontend_.address.ToString());
    EXPECT_EQ(arrival->segment, Segment({.sport = frontend_.port,
                                         .dport = client_port_,
                                         .tag = client_tag_,
                                         .chunk = chunk,
                                         .chunk_flags = flags},
                                        content))
        << "chunk " << int{chunk};
    at_client_ = arrival->segment;
  }

  void Open() {
    const std::string window_streams = Word(0x10000) + Word(0x00010001);
    ASSERT_NO_FATAL_FAILURE(
        ToEndpoint(kInit, Word(0xc1c1c1c1) + window_streams + Word(100)));
    client_tag_ = WordAt(at_endpoint_, kHeader + kChunkHeader);
    // A state cookie: parameter 7, 4 + 8 bytes.
    ASSERT_NO_FATAL_FAILURE(
        ToClient(kInitAck, Word(0xe2e2e2e2) + window_streams + Word(500) +
                               Word(0x0007000c) + "cookie-7"));
    endpoint_tag_ = WordAt(at_client_, kHeader + kChunkHeader);
    const size_t cookie = kHeader + kChunkHeader + kFixedInitPart + 4;
    ASSERT_NO_FATAL_FAILURE(ToEndpoint(
        kCookieEcho,
        std::string(at_client_.begin() + cookie, at_client_.end())));
    ASSERT_NO_FATAL_FAILURE(ToClient(kCookieAck, ""));
  }

  // One message there and one back, each acknowledged.
  void Talk(size_t bytes) {
    const std::string message(bytes, 'm');
    ASSERT_NO_FATAL_FAILURE(ToEndpoint(kData, Data(100) + message, kWhole));
    ASSERT_NO_FATAL_FAILURE(ToClient(kSack, Sack(100)));
    ASSERT_NO_FATAL_FAILURE(ToClient(kData, Data(500) + message, kWhole));
    ASSERT_NO_FATAL_FAILURE(ToEndpoint(kSack, Sack(500)));
  }

  void Shutdown() {
    ASSERT_NO_FATAL_FAILURE(ToEndpoint(kShutdown, Word(500)));
    ASSERT_NO_FATAL_FAILURE(ToClient(kShutdownAck, ""));
    ASSERT_NO_FATAL_FAILURE(ToEndpoint(kShutdownComplete, ""));
  }

 private:
  static constexpr uint8_t kWhole = 3;  // a message in one DATA chunk

  // TSN; stream and its sequence; payload protocol.
  static std::string Data(uint32_t tsn) {
    return Word(tsn) + Word(0) + Word(0);
  }
  // Cumulative TSN, window, no gaps and no duplicates.
  static std::string Sack(uint32_t tsn) {
    return Word(tsn) + Word(0x10000) + Word(0);
  }

  L4Address frontend_;
  IpAddress source_seen_;
  Port client_port_;
  Port port_seen_ = 0;
  uint32_t client_tag_ = 0;
  uint32_t endpoint_tag_ = 0;
  Bytes at_endpoint_;
  Bytes at_client_;
  Peer client_;
  Peer endpoint_;
};

class Sctp : public ServiceTest {
 protected:
  static constexpr int kLocal = 1, kRemote = 2, kHairpin = 3, kNone = 4,
                       kNotHere = 5;
  static void SetUpTestSuite() {
    ServiceTest::SetUpTestSuite();
    auto service = [](int number, const std::vector<std::string>& endpoints,
                      bool local = false) {
      return ServiceSpec{.number = number,
                         .sctp = true,
                         .internal_local = local,
                         .external_local = local,
                         .endpoints = endpoints};
    };
    ASSERT_OK(bed_->Apply({service(kLocal, {"l1"}), service(kRemote, {"r1"}),
                           service(kHairpin, {"a"}), service(kNone, {}),
                           service(kNotHere, {"r1"}, true)}));
  }

  static const Station& Named(const char* name) {
    return bed_->net().at(name);
  }
  static L4Address Frontend(int number, Way way, IpFamily family) {
    return FrontendOf(number, way, family, Protocol::kSctp);
  }

  // A whole association; who the endpoint sees, and what is counted.
  static void Check(const char* client, const char* endpoint, int number,
                    Way way, bool masqueraded) {
    for (IpFamily family : kFamilies) {
      SCOPED_TRACE(StrCat(client, " -> ", WayName(way), " -> ", endpoint, " ",
                          IpFamilyName(family)));
      auto before = bed_->Counters();
      Association association(
          Named(client), Named(endpoint), Frontend(number, way, family),
          Named(masqueraded ? "node1" : client).address(family));
      ASSERT_NO_FATAL_FAILURE(association.Open());
      EXPECT_EQ(association.port_seen() == association.client_port(),
                !masqueraded);
      for (size_t bytes : {4, 100, 1400}) {
        ASSERT_NO_FATAL_FAILURE(association.Talk(bytes));
      }
      ASSERT_NO_FATAL_FAILURE(association.Shutdown());
      auto counted = bed_->Counters();
      auto growth = [&](const char* name) {
        return counted[name] - before[name];
      };
      // To the endpoint: INIT, COOKIE ECHO, 3 DATA, 3 SACK, SHUTDOWN and
      // SHUTDOWN COMPLETE. Back: INIT ACK, COOKIE ACK, as many, SHUTDOWN ACK.
      EXPECT_EQ(growth("forward_new"), 1);
      EXPECT_EQ(growth("forward_hit"), 9);
      EXPECT_EQ(growth("source_translated"), masqueraded ? 10 : 0);
      EXPECT_EQ(growth("reply_hit"), masqueraded ? 2 * 9 : 9);
    }
  }
};

TEST_F(Sctp, ClusterIpFromAPod) {
  Check("a", "l1", kLocal, Way::kClusterIp, false);
  Check("a", "r1", kRemote, Way::kClusterIp, false);
}

TEST_F(Sctp, NodePortFromOutsideIsMasqueraded) {
  Check("outside", "l1", kLocal, Way::kNodePort, true);
  Check("outside", "r1", kRemote, Way::kNodePort, true);
}

TEST_F(Sctp, VipAndExternalIpFromOutside) {
  Check("outside", "r1", kRemote, Way::kLoadBalancer, true);
  Check("outside", "l1", kLocal, Way::kExternalIp, true);
}

TEST_F(Sctp, APodThatIsItsOwnEndpoint) {
  Check("a", "a", kHairpin, Way::kClusterIp, true);
}

// The endpoint's ABORT reaches its client, whose port can be used again at
// once: a new INIT opens a new flow.
TEST_F(Sctp, AnAbortEndsTheFlow) {
  for (IpFamily family : kFamilies) {
    Association association(Named("outside"), Named("r1"),
                            Frontend(kRemote, Way::kNodePort, family),
                            Named("node1").address(family));
    ASSERT_NO_FATAL_FAILURE(association.Open());
    ASSERT_NO_FATAL_FAILURE(association.ToClient(kAbort, ""));
    const double before = bed_->Counter("forward_new");
    ASSERT_NO_FATAL_FAILURE(association.Open());
    EXPECT_EQ(bed_->Counter("forward_new") - before, 1);
  }
}

// An INIT that is turned away: by an ICMP error that the client's socket is
// told of, or not at all.
class SctpTurnedAway : public Sctp {
 protected:
  static void Check(const char* client, int number, Way way,
                    const std::string& counter, int error) {
    for (IpFamily family : kFamilies) {
      SCOPED_TRACE(StrCat(client, " -> ", WayName(way), " ",
                          IpFamilyName(family)));
      const double before = bed_->Counter(counter);
      const L4Address to = Frontend(number, way, family);
      Peer peer(Named(client), family);
      peer.Send(to.address, Segment({.sport = NextSourcePort(),
                                     .dport = to.port,
                                     .tag = 0,
                                     .chunk = kInit},
                                    std::string(kFixedInitPart, 'i')));
      EXPECT_EQ(peer.Error(error != 0 ? kPatience : kSilence), error);
      EXPECT_EQ(bed_->Counter(counter) - before, 1);
    }
  }
};

TEST_F(SctpTurnedAway, WithoutAnyEndpointItIsRefused) {
  for (Way way : kWays) {
    Check("outside", kNone, way, "reject_unreachable", ECONNREFUSED);
    Check("a", kNone, way, "reject_unreachable", ECONNREFUSED);
  }
}

TEST_F(SctpTurnedAway, WithEndpointsElsewhereOnlyItIsDropped) {
  Check("a", kNotHere, Way::kClusterIp, "drop_policy", 0);
  Check("outside", kNotHere, Way::kNodePort, "drop_policy", 0);
}

}  // namespace
}  // namespace fairlead::harness
