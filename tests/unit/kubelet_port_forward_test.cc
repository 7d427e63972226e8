// SPDX-License-Identifier: Apache-2.0
// The kubelet's end of kubectl port-forward over real sockets: a client that
// speaks SPDY by hand, and programs that listen on this machine's loopback in
// a pod's place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <map>
#include <thread>

#include "tests/harness/sockets.h"
#include "tests/unit/spdy_client.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/server/port_forward_session.h"

namespace fairlead::kubelet {
namespace {

using spdy::Data;
using spdy::Frame;
using spdy::FrameType;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kUpgrade[] =
    "POST /portForward/default/p HTTP/1.1\r\nHost: x\r\n"
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    "X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";
constexpr char kWebSocket[] =
    "GET /portForward/default/p HTTP/1.1\r\nHost: x\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n\r\n";

const IpAddress kLoopback4 = *IpAddress::Parse("127.0.0.1");
const IpAddress kLoopback6 = *IpAddress::Parse("::1");

void LimitWaits(int fd, int milliseconds = 5000) {
  const timeval limit{.tv_sec = milliseconds / 1000,
                      .tv_usec = milliseconds % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

// All of it, unless a wait was too long.
bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// "" at the end, and when there is nothing for 5 s.
std::string ReceiveSome(int fd) {
  std::string bytes(64u << 10, '\0');
  const ssize_t n = recv(fd, bytes.data(), bytes.size(), 0);
  bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return bytes;
}

// Whether the other end ends it within 5 s, by a reset or not.
bool Ends(int fd) {
  char byte;
  const ssize_t n = recv(fd, &byte, 1, 0);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

std::string Receive(int fd, size_t size) {
  std::string bytes;
  while (bytes.size() < size) {
    const std::string more = ReceiveSome(fd);
    if (more.empty()) break;
    bytes += more;
  }
  return bytes;
}

class PortForwardTest : public ::testing::Test {
 protected:
  PortForwardTest()
      : acceptor_(loop_.io(),
                  {boost::asio::ip::address_v4::loopback(), 0}) {
    Accept();
    thread_ = std::thread([this] { loop_.Run(); });
    server4_.emplace(*harness::OpenServer(kLoopback4, Protocol::kTcp));
  }
  ~PortForwardTest() override {
    loop_.Stop();
    thread_.join();
  }

  void Accept() {
    acceptor_.async_accept([this](boost::system::error_code error,
                                  Connection::Socket socket) {
      if (error) return;
      std::make_shared<Connection>(&loop_, std::move(socket), nullptr)
          ->Start([](const ConnectionRef& connection, const StreamRequest&) {
            StartPortForward(connection, {.netns = "", .pod = "p_default"});
          });
      Accept();
    });
  }

  // A connection to the kubelet, and the head of the answer to `request`.
  std::string Dial(const std::string& request = kUpgrade) {
    const L4Address peer{kLoopback4, acceptor_.local_endpoint().port(),
                         Protocol::kTcp};
    fd_ = harness::OpenSocket(peer, harness::SocketFamily::kNative);
    LimitWaits(fd_.get());
    EXPECT_EQ(harness::Connect(fd_.get(), peer, harness::SocketFamily::kNative),
              0);
    EXPECT_TRUE(SendAll(fd_.get(), request));
    std::string head;
    char c;
    while (!head.ends_with("\r\n\r\n") && recv(fd_.get(), &c, 1, 0) == 1)
      head += c;
    return head;
  }

  bool Send(const std::string& bytes) { return SendAll(fd_.get(), bytes); }
  // A connection through the forward, as its other end sees it.
  UniqueFd Open(uint32_t id) {
    EXPECT_TRUE(Send(client_.Forward(id, port())));
    UniqueFd pod = harness::Accept(server4_->fd.get());
    LimitWaits(pod.get());
    return pod;
  }
  Port port() const { return server4_->address.port; }

  // What came on a stream so far.
  struct Got {
    std::string data;
    bool replied = false, finished = false, reset = false;
  };
  // Reads until `holds` of what came; false: it never did.
  bool Until(const std::function<bool()>& holds) {
    while (!holds()) {
      const std::string bytes = ReceiveSome(fd_.get());
      if (bytes.empty()) {
        closed_ = true;
        return holds();
      }
      reader_.Feed(bytes);
      while (true) {
        auto frame = reader_.Next();
        EXPECT_TRUE(frame.ok()) << frame.status();
        if (!frame.ok() || !*frame) break;
        On(**frame);
      }
    }
    return true;
  }
  void On(const Frame& frame) {
    Got& got = got_[frame.stream];
    got.data += frame.data;
    got.replied |= frame.type == FrameType::kSynReply;
    got.finished |= frame.fin;
    got.reset |= frame.type == FrameType::kRstStream;
    goodbye_ |= frame.type == FrameType::kGoAway;
  }

  EventLoop loop_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::thread thread_;
  std::optional<harness::Server> server4_;
  UniqueFd fd_;
  spdy::SpdyClient client_;
  spdy::FrameReader reader_;
  std::map<uint32_t, Got> got_;
  bool closed_ = false, goodbye_ = false;
};

TEST_F(PortForwardTest, BytesGoBothWaysAndHalvesClose) {
  EXPECT_THAT(Dial(), StartsWith("HTTP/1.1 101 Switching Protocols\r\n"));
  const UniqueFd pod = Open(1);
  EXPECT_TRUE(Send(Data(3, "question")));
  EXPECT_EQ(Receive(pod.get(), 8), "question");
  EXPECT_TRUE(Send(Data(3, "", true)));
  EXPECT_TRUE(Ends(pod.get()));
  // The other half goes on.
  EXPECT_TRUE(SendAll(pod.get(), "answer"));
  EXPECT_TRUE(Until([&] { return got_[3].data == "answer"; }));
  EXPECT_FALSE(got_[1].finished || got_[3].finished);
  shutdown(pod.get(), SHUT_WR);
  EXPECT_TRUE(Until([&] { return got_[1].finished && got_[3].finished; }));
  EXPECT_EQ(got_[1].data, "");
  EXPECT_TRUE(got_[1].replied && got_[3].replied);
  // And the other way round: the pod's half first.
  const UniqueFd second = Open(5);
  shutdown(second.get(), SHUT_WR);
  EXPECT_TRUE(Until([&] { return got_[7].finished; }));
  EXPECT_TRUE(Send(Data(7, "still", true)));
  EXPECT_EQ(Receive(second.get(), 5), "still");
  EXPECT_TRUE(Ends(second.get()));
}

TEST_F(PortForwardTest, APortThatNobodyListensOnIsToldInKubernetesWords) {
  Dial();
  const Port free = harness::OpenServer(kLoopback4, Protocol::kTcp)
                        ->address.port;
  EXPECT_TRUE(Send(client_.Forward(1, free)));
  EXPECT_TRUE(Until([&] { return got_[1].finished && got_[3].finished; }));
  EXPECT_EQ(
      got_[1].data,
      StrCat("error forwarding port ", free,
             " to pod p_default, uid : failed to execute portforward in "
             "network namespace \"host\": failed to connect to localhost:",
             free, " inside namespace \"p_default\", IPv4: dial tcp4 "
             "127.0.0.1:", free, ": connect: connection refused IPv6 dial "
             "tcp6 [::1]:", free, ": connect: connection refused"));
  // It was about that one.
  const UniqueFd pod = Open(5);
  EXPECT_TRUE(Send(Data(7, "x")));
  EXPECT_EQ(Receive(pod.get(), 1), "x");
}

TEST_F(PortForwardTest, Ipv6IsTriedAfterIpv4) {
  Dial();
  const auto server = harness::OpenServer(kLoopback6, Protocol::kTcp);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Send(client_.Forward(1, server->address.port) + Data(3, "six")));
  const UniqueFd pod = harness::Accept(server->fd.get());
  LimitWaits(pod.get());
  EXPECT_EQ(Receive(pod.get(), 3), "six");
}

TEST_F(PortForwardTest, ManyAtOnceDontMix) {
  Dial();
  constexpr uint32_t kMany = 50;
  std::map<uint32_t, UniqueFd> pods;
  for (uint32_t i = 0; i < kMany; ++i) pods[4 * i + 1] = Open(4 * i + 1);
  for (auto& [id, pod] : pods)
    EXPECT_TRUE(Send(Data(id + 2, StrCat("to ", id, "\n"), true)));
  for (auto& [id, pod] : pods) {
    const std::string sent = StrCat("to ", id, "\n");
    EXPECT_EQ(Receive(pod.get(), sent.size()), sent);
    EXPECT_TRUE(Ends(pod.get()));
    EXPECT_TRUE(SendAll(pod.get(), StrCat("from ", id)));
    shutdown(pod.get(), SHUT_WR);
  }
  for (auto& [id, pod] : pods) {
    const uint32_t data = id + 2;
    EXPECT_TRUE(Until([&] { return got_[data].finished; }));
    EXPECT_EQ(got_[data].data, StrCat("from ", id));
  }
}

// More than what is held for a pod that doesn't read; all of it arrives when
// it does.
TEST_F(PortForwardTest, APodThatDoesNotReadHoldsUpTheClient) {
  Dial();
  const UniqueFd pod = Open(1);
  std::string piece(1 << 16, '\0');
  for (size_t i = 0; i < piece.size(); ++i)
    piece[i] = static_cast<char>(i * 31 % 251);
  LimitWaits(fd_.get(), 500);
  size_t sent = 0;
  while (sent < (256u << 20) && Send(Data(3, piece))) sent += piece.size();
  // 4 MiB here, and what sockets hold.
  EXPECT_LT(sent, 64u << 20) << "the client isn't held up";
  EXPECT_GT(sent, 4u << 20);
  size_t received = 0;
  while (received < sent) {
    const std::string bytes = ReceiveSome(pod.get());
    ASSERT_FALSE(bytes.empty()) << received << " of " << sent;
    for (size_t i = 0; i < bytes.size(); ++i)
      ASSERT_EQ(bytes[i], piece[(received + i) % piece.size()]);
    received += bytes.size();
  }
}

TEST_F(PortForwardTest, AClientThatDoesNotReadHoldsUpThePod) {
  Dial();
  const UniqueFd pod = Open(1);
  const std::string piece(1 << 16, 'x');
  LimitWaits(pod.get(), 500);
  size_t sent = 0;
  while (sent < (256u << 20)) {
    const ssize_t n = send(pod.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    if (n <= 0) break;
    sent += static_cast<size_t>(n);
  }
  EXPECT_LT(sent, 64u << 20) << "the pod isn't held up";
  shutdown(pod.get(), SHUT_WR);
  EXPECT_TRUE(Until([&] { return got_[3].finished; }));
  EXPECT_EQ(got_[3].data.size(), sent);
}

TEST_F(PortForwardTest, AResetEndsOneConnection) {
  Dial();
  const UniqueFd one = Open(1), two = Open(5);
  EXPECT_TRUE(Send(spdy::RstStreamFrame(3, spdy::ResetStatus::kCancel)));
  EXPECT_TRUE(Ends(one.get()));
  // kubectl waits for this.
  EXPECT_TRUE(Until([&] { return got_[1].finished; }));
  // The pod's own reset.
  const linger now{.l_onoff = 1, .l_linger = 0};
  UniqueFd three = Open(9);
  // The kubelet has seen that it is connected.
  EXPECT_TRUE(Send(Data(11, "x")));
  EXPECT_EQ(Receive(three.get(), 1), "x");
  setsockopt(three.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  three = UniqueFd();
  EXPECT_TRUE(Until([&] { return got_[11].reset && got_[9].finished; }));
  EXPECT_EQ(got_[9].data, "");
  EXPECT_TRUE(Send(Data(7, "on")));
  EXPECT_EQ(Receive(two.get(), 2), "on");
}

TEST_F(PortForwardTest, TheClientsEndIsThatOfAllConnections) {
  Dial();
  const UniqueFd one = Open(1), two = Open(5);
  fd_ = UniqueFd();
  EXPECT_TRUE(Ends(one.get()));
  EXPECT_TRUE(Ends(two.get()));
}

TEST_F(PortForwardTest, StreamsForNothingAreRefused) {
  Dial();
  const spdy::Headers cases[] = {
      {{"streamtype", "data"}, {"requestid", "1"}},
      {{"streamtype", "data"}, {"port", "0"}, {"requestid", "1"}},
      {{"streamtype", "data"}, {"port", "65536"}, {"requestid", "1"}},
      {{"streamtype", "data"}, {"port", "-1"}, {"requestid", "1"}},
      {{"port", "80"}, {"requestid", "1"}},
      {{"streamtype", "other"}, {"port", "80"}, {"requestid", "1"}}};
  uint32_t id = 1;
  for (const spdy::Headers& headers : cases) {
    EXPECT_TRUE(Send(client_.SynStream(id, headers)));
    EXPECT_TRUE(Until([&] { return got_[id].reset; }));
    id += 2;
  }
  // A third stream of a request, and data for half a pair.
  EXPECT_TRUE(Send(client_.Forward(id, port())));
  EXPECT_TRUE(Send(client_.SynStream(
      id + 4, {{"streamtype", "data"},
               {"port", "80"},
               {"requestid", StrCat(id)}})));
  EXPECT_TRUE(Until([&] { return got_[id + 4].reset; }));
  EXPECT_TRUE(Send(client_.SynStream(id + 6, {{"streamtype", "data"},
                                              {"port", "80"},
                                              {"requestid", "alone"}}) +
                   Data(id + 6, "early")));
  EXPECT_TRUE(Until([&] { return got_[id + 6].reset; }));
}

// Clients before requestid: the errors' stream is the one before.
TEST_F(PortForwardTest, StreamsWithoutNumbersArePairedByOrder) {
  Dial();
  const std::string number = StrCat(port());
  EXPECT_TRUE(Send(
      client_.SynStream(1, {{"streamtype", "error"}, {"port", number}})));
  EXPECT_TRUE(Send(
      client_.SynStream(3, {{"streamtype", "data"}, {"port", number}}) +
      Data(3, "paired")));
  const UniqueFd pod = harness::Accept(server4_->fd.get());
  LimitWaits(pod.get());
  EXPECT_EQ(Receive(pod.get(), 6), "paired");
}

TEST_F(PortForwardTest, WhoBreaksTheProtocolIsToldAndCutOff) {
  Dial();
  const UniqueFd pod = Open(1);
  EXPECT_TRUE(Send(Data(9, "never opened")));
  EXPECT_FALSE(Until([&] { return false; }));
  EXPECT_TRUE(closed_);
  EXPECT_TRUE(goodbye_);
  EXPECT_TRUE(Ends(pod.get()));
}

TEST_F(PortForwardTest, OtherProtocolsAreRefused) {
  const std::string plain =
      "GET /portForward/default/p HTTP/1.1\r\nHost: x\r\n";
  EXPECT_THAT(Dial(plain + "\r\n"), StartsWith("HTTP/1.1 400"));
  std::string other = kUpgrade;
  other.replace(other.find("portforward.k8s.io"), 4, "PORT");
  EXPECT_THAT(Dial(other), StartsWith("HTTP/1.1 403"));
  other = kWebSocket;
  other.replace(other.find("SPDY/3.1+"), 9, "v4.");
  EXPECT_THAT(Dial(other), StartsWith("HTTP/1.1 400"));
}

// A short frame of a WebSocket from a client, with a mask that changes nothing.
std::string Message(char opcode, const std::string& bytes) {
  return std::string(1, static_cast<char>(0x80 | opcode)) +
         spdy::Number(0x80 | bytes.size(), 1) + spdy::Number(0, 4) + bytes;
}

TEST_F(PortForwardTest, InsideAWebSocket) {
  const std::string head = Dial(kWebSocket);
  EXPECT_THAT(head, StartsWith("HTTP/1.1 101"));
  EXPECT_THAT(head, HasSubstr("Sec-WebSocket-Protocol: "
                              "SPDY/3.1+portforward.k8s.io\r\n"));
  // Messages end where they like.
  const std::string bytes = client_.Forward(1, port()) + Data(3, "tunnelled");
  for (size_t at = 0; at < bytes.size(); at += 7)
    EXPECT_TRUE(Send(Message(2, bytes.substr(at, 7))));
  const UniqueFd pod = harness::Accept(server4_->fd.get());
  LimitWaits(pod.get());
  EXPECT_EQ(Receive(pod.get(), 9), "tunnelled");
  EXPECT_TRUE(SendAll(pod.get(), "back"));
  std::string answer;
  while (!answer.ends_with("back")) {
    const std::string more = ReceiveSome(fd_.get());
    ASSERT_FALSE(more.empty());
    answer += more;
  }
  EXPECT_EQ(answer[0], '\x82');  // binary
  // Text is none of it.
  EXPECT_TRUE(Send(Message(1, "text")));
  EXPECT_TRUE(Ends(pod.get()));
}

}  // namespace
}  // namespace fairlead::kubelet
