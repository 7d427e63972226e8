// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/explain_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "tests/harness/spawn.h"
#include "tests/prog/packet.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

struct SocketName {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

SocketName NameOf(const L4Address& address) {
  SocketName out;
  if (address.address.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address.port);
    v4->sin_addr.s_addr = htonl(address.address.v4_host_order());
    out.length = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(address.port);
    std::memcpy(&v6->sin6_addr, address.address.bytes().data(), 16);
    out.length = sizeof *v6;
  }
  return out;
}

std::string TextOf(const SocketName& name, Protocol protocol) {
  L4Address out;
  out.protocol = protocol;
  if (name.storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(name.storage);
    out.address = IpAddress::V4(ntohl(v4.sin_addr.s_addr));
    out.port = ntohs(v4.sin_port);
  } else {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(name.storage);
    IpAddress::Bytes bytes;
    std::memcpy(bytes.data(), &v6.sin6_addr, 16);
    out.address = IpAddress(bytes);
    out.port = ntohs(v6.sin6_port);
  }
  const std::string text = out.ToString();
  return text.substr(0, text.rfind('/'));
}

UniqueFd NewSocket(const L4Address& address) {
  const int domain = address.address.is_v4() ? AF_INET : AF_INET6;
  if (address.protocol == Protocol::kSctp) {
    return UniqueFd(socket(domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_SCTP));
  }
  return UniqueFd(socket(domain,
                         (address.protocol == Protocol::kTcp ? SOCK_STREAM
                                                             : SOCK_DGRAM) |
                             SOCK_CLOEXEC,
                         0));
}

// RFC 9260, section 3.2. Who begins sends the one, then the other.
constexpr uint8_t kInit = 1, kInitAck = 2, kCookieEcho = 10, kCookieAck = 11;

struct SctpPacket {
  IpAddress source;
  Port source_port = 0;
  Port port = 0;
  uint8_t chunk = 0;
  std::string content;
};

void SendSctp(int fd, Port source, const L4Address& to, uint8_t chunk,
              const std::string& content) {
  constexpr size_t kHeadersAbove = 14 + 20;
  const packet::Bytes frame =
      (packet::Eth{} / packet::Ip4{} /
       packet::Sctp{.sport = source,
                    .dport = to.port,
                    .tag = chunk == kInit ? 0u : 0x01020304u,
                    .chunk = chunk} /
       packet::Payload{content})
          .Build();
  SocketName name = NameOf({to.address, 0, Protocol::kSctp});
  (void)sendto(fd, frame.data() + kHeadersAbove, frame.size() - kHeadersAbove,
               MSG_NOSIGNAL, name.get(), name.length);
}

// nullopt: none within the socket's patience, or an error (errno).
std::optional<SctpPacket> ReceiveSctp(int fd) {
  constexpr size_t kHeader = 12, kChunkHeader = 4;
  uint8_t buffer[2048];
  SocketName from;
  from.length = sizeof from.storage;
  const ssize_t size =
      recvfrom(fd, buffer, sizeof buffer, 0, from.get(), &from.length);
  if (size < 0) return std::nullopt;
  // IPv4 comes with its header.
  const bool v4 = from.storage.ss_family == AF_INET;
  const size_t skip = v4 ? (buffer[0] & 0xf) * 4u : 0;
  SctpPacket out;
  if (static_cast<size_t>(size) < skip + kHeader + kChunkHeader) return out;
  const uint8_t* segment = buffer + skip;
  out.source_port = static_cast<Port>(segment[0] << 8 | segment[1]);
  out.port = static_cast<Port>(segment[2] << 8 | segment[3]);
  out.chunk = segment[kHeader];
  const size_t length = segment[kHeader + 2] << 8 | segment[kHeader + 3];
  const size_t room = static_cast<size_t>(size) - skip - kHeader;
  if (length >= kChunkHeader && length <= room) {
    out.content.assign(
        reinterpret_cast<const char*>(segment) + kHeader + kChunkHeader,
        length - kChunkHeader);
  }
  const std::string text = TextOf(from, Protocol::kSctp);
  const std::string host = text.substr(0, text.rfind(':'));
  out.source = Ip(v4 ? host : host.substr(1, host.size() - 2));
  return out;
}

// The next packet to this port of this chunk: its content; errno if none.
std::string AwaitSctp(int fd, Port port, uint8_t chunk) {
  for (;;) {
    std::optional<SctpPacket> packet = ReceiveSctp(fd);
    if (!packet.has_value()) return "";
    if (packet->port == port && packet->chunk == chunk) {
      return packet->content;
    }
  }
}

absl::Status BindTo(int fd, const L4Address& address) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  SocketName name = NameOf(address);
  if (bind(fd, name.get(), name.length) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "bind", address.ToString());
}

void Answer(int fd, const L4Address& self, SocketName* peer) {
  const std::string text = StrCat(self.address.ToString(), "|",
                                  TextOf(*peer, self.protocol));
  (void)sendto(fd, text.data(), text.size(), MSG_NOSIGNAL,
               self.protocol == Protocol::kTcp ? nullptr : peer->get(),
               self.protocol == Protocol::kTcp ? 0 : peer->length);
}

// "": nothing came, or an error (errno).
std::string ReceiveText(int fd) {
  char buffer[200];
  const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
  return n <= 0 ? "" : std::string(buffer, static_cast<size_t>(n));
}

// The answer to a connection, or to a datagram.
std::string Converse(int fd, const L4Address& destination) {
  SocketName name = NameOf(destination);
  if (connect(fd, name.get(), name.length) != 0) return "";
  if (destination.protocol == Protocol::kUdp &&
      send(fd, "?", 1, MSG_NOSIGNAL) < 0) {
    return "";
  }
  return ReceiveText(fd);
}

}  // namespace

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

absl::Status EchoServers::Add(const NetnsScope& netns,
                              const IpAddress& address) {
  for (Protocol protocol :
       {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    Socket entry;
    entry.address = {address, kEndpointPort, protocol};
    entry.listener = protocol == Protocol::kTcp;
    FL_RETURN_IF_ERROR(netns.Run([&]() -> absl::Status {
      entry.fd = NewSocket(entry.address);
      FL_RETURN_IF_ERROR(BindTo(entry.fd.get(), entry.address));
      if (entry.listener && listen(entry.fd.get(), 64) < 0) {
        return ErrnoStatus(errno, "listen", entry.address.ToString());
      }
      return absl::OkStatus();
    }));
    sockets_.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

void EchoServers::Start() {
  stop_.reset(eventfd(0, EFD_CLOEXEC));
  thread_ = std::thread([this] { Serve(); });
}

void EchoServers::AnswerSctp(const Socket& socket) {
  std::optional<SctpPacket> packet = ReceiveSctp(socket.fd.get());
  if (!packet.has_value() || packet->port != socket.address.port) return;
  if (packet->chunk != kInit && packet->chunk != kCookieEcho) return;
  const L4Address peer{packet->source, packet->source_port, Protocol::kSctp};
  const std::string text = peer.ToString();
  SendSctp(socket.fd.get(), socket.address.port, peer,
           packet->chunk == kInit ? kInitAck : kCookieAck,
           StrCat(socket.address.address.ToString(), "|",
                  text.substr(0, text.rfind('/'))));
}

EchoServers::~EchoServers() {
  if (!thread_.joinable()) return;
  (void)eventfd_write(stop_.get(), 1);
  thread_.join();
}

void EchoServers::Serve() {
  for (;;) {
    std::vector<pollfd> polls = {{stop_.get(), POLLIN, 0}};
    for (const Socket& s : sockets_) polls.push_back({s.fd.get(), POLLIN, 0});
    if (poll(polls.data(), polls.size(), -1) < 0) continue;
    if (polls[0].revents != 0) return;
    for (size_t i = polls.size(); --i > 0;) {
      if (polls[i].revents == 0) continue;
      Socket& s = sockets_[i - 1];
      if (s.address.protocol == Protocol::kSctp) {
        AnswerSctp(s);
        continue;
      }
      SocketName peer;
      peer.length = sizeof peer.storage;
      if (s.listener) {
        Socket accepted;
        accepted.address = s.address;
        accepted.fd.reset(accept4(s.fd.get(), peer.get(), &peer.length,
                                  SOCK_CLOEXEC));
        Answer(accepted.fd.get(), s.address, &peer);
        sockets_.push_back(std::move(accepted));
        continue;
      }
      char buffer[64];
      const ssize_t n = recvfrom(s.fd.get(), buffer, sizeof buffer,
                                 MSG_DONTWAIT, peer.get(), &peer.length);
      if (s.address.protocol == Protocol::kUdp) {
        if (n >= 0) Answer(s.fd.get(), s.address, &peer);
      } else if (n > 0) {
        peer.length = sizeof peer.storage;
        getpeername(s.fd.get(), peer.get(), &peer.length);
        Answer(s.fd.get(), s.address, &peer);
      } else {
        sockets_.erase(sockets_.begin() + static_cast<ptrdiff_t>(i) - 1);
      }
    }
  }
}

IpAddress ExplainWorld::Endpoint(int number, IpFamily family) {
  const int node = number < 2 ? 0 : 1;
  return family == IpFamily::kIpv4
             ? Ip(StrCat("10.244.", node, ".", 11 + number))
             : Ip(StrCat("fd00:244:0:", node, "::", 11 + number));
}

IpAddress ExplainWorld::NodeAddress(IpFamily family) {
  return Ip(family == IpFamily::kIpv4 ? "172.30.0.1" : "fd00:30::1");
}

absl::StatusOr<std::unique_ptr<ExplainWorld>> ExplainWorld::Create() {
  std::unique_ptr<ExplainWorld> world(new ExplainWorld());
  FL_RETURN_IF_ERROR(world->Build());
  return world;
}

// A namespace with one device to the node, its way to everywhere.
absl::Status ExplainWorld::AddNeighbour(size_t number, const IpAddress& v4,
                                        const IpAddress& v6) {
  FL_ASSIGN_OR_RETURN(NetnsScope netns, NetnsScope::Create());
  const std::string device = StrCat("veth", number);
  FL_RETURN_IF_ERROR(AddVethPair(nodes_[0], device, netns, "eth0"));
  FL_RETURN_IF_ERROR(
      netns
          .Command(StrCat("ip addr add ", v4.ToString(), "/32 dev eth0; "
                          "ip addr add ", v6.ToString(),
                          "/128 dev eth0 nodad; "
                          "ip route add 169.254.1.1 dev eth0; "
                          "ip route add default via 169.254.1.1; "
                          "ip route add fd00:169::1 dev eth0; "
                          "ip route add default via fd00:169::1"))
          .status());
  FL_RETURN_IF_ERROR(
      nodes_[0]
          .Command(StrCat("ip addr add 169.254.1.1/32 dev ", device, "; "
                          "ip addr add fd00:169::1/128 dev ", device,
                          " nodad; ip route add ", v4.ToString(), " dev ",
                          device, " src 172.30.0.1; ip -6 route add ",
                          v6.ToString(), " dev ", device,
                          " src fd00:30::1"))
          .status());
  nodes_.push_back(std::move(netns));
  return absl::OkStatus();
}

absl::Status ExplainWorld::Build() {
  FL_ASSIGN_OR_RETURN(BpffsScope bpffs, BpffsScope::Create());
  bpffs_.emplace(std::move(bpffs));
  FL_ASSIGN_OR_RETURN(CgroupScope cgroup, CgroupScope::Create());
  cgroup_.emplace(std::move(cgroup));
  FL_ASSIGN_OR_RETURN(TempDirScope dir, TempDirScope::Create());
  dir_.emplace(std::move(dir));
  nodes_.reserve(8);  // clients_ points into it
  FL_ASSIGN_OR_RETURN(NetnsScope node, NetnsScope::Create());
  nodes_.push_back(std::move(node));
  FL_RETURN_IF_ERROR(
      nodes_[0]
          .Command("for k in ipv4/ip_forward ipv6/conf/all/forwarding; do "
                   "echo 1 > /proc/sys/net/$k; done; "
                   "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; "
                   "ip link add uplink type bridge; ip link set uplink up; "
                   "ip addr add 172.30.0.1/24 dev uplink; "
                   "ip addr add fd00:30::1/64 dev uplink nodad; "
                   "ip route add default dev uplink src 172.30.0.1; "
                   "ip -6 route add default dev uplink src fd00:30::1")
          .status());
  for (int i = 0; i < kEndpoints; ++i) {
    FL_RETURN_IF_ERROR(AddNeighbour(nodes_.size(),
                                    Endpoint(i, IpFamily::kIpv4),
                                    Endpoint(i, IpFamily::kIpv6)));
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      FL_RETURN_IF_ERROR(servers_.Add(nodes_.back(), Endpoint(i, family)));
    }
  }
  FL_RETURN_IF_ERROR(AddNeighbour(nodes_.size(), Ip("10.244.0.2"),
                                  Ip("fd00:244::2")));
  FL_RETURN_IF_ERROR(AddNeighbour(nodes_.size(), Ip("198.51.100.2"),
                                  Ip("2001:db8:1::2")));
  clients_ = {{"pod", &nodes_[5], Ip("10.244.0.2"), Ip("fd00:244::2")},
              {"outside", &nodes_[6], Ip("198.51.100.2"),
               Ip("2001:db8:1::2")},
              {"endpoint", &nodes_[1], Endpoint(0, IpFamily::kIpv4),
               Endpoint(0, IpFamily::kIpv6)}};
  servers_.Start();
  api_ = std::make_unique<StubApi>(&nodes_[0]);
  return api_->Start();
}

absl::Status ExplainWorld::StartAgent(std::vector<std::string> flags) {
  std::vector<std::string> words = {
      std::string(FAIRLEAD_BINARY_DIR) + "/bin/fairlead-agent",
      "--bpf-root", bpffs_->path() + "/agent", "--server", StubApi::url(),
      "--node-name", "n1", "--cgroup-root", cgroup_->path(),
      "--cluster-cidr", "10.244.0.0/16,fd00:244::/32",
      "--service-cidr", "10.96.0.0/16,fd00:96::/64",
      "--node-ip", "172.30.0.1,fd00:30::1", "--admin-socket", socket()};
  words.insert(words.end(), flags.begin(), flags.end());
  agent_ = harness::Spawn(std::move(words), dir_->path() + "/agent.log",
                          nodes_[0].fd());
  const bool synced = Eventually(
      [this] {
        auto session = cli::AgentSession::Open(socket());
        if (!session.ok()) return false;
        auto status = session->Status();
        if (!status.ok() || !status->synced()) return false;
        agent_session_.emplace(*std::move(session));
        return true;
      },
      absl::Seconds(20));
  return synced ? absl::OkStatus()
                : absl::DeadlineExceededError(StrCat("agent: ", Log()));
}

ExplainWorld::~ExplainWorld() {
  agent_session_.reset();
  if (agent_ > 0) {
    kill(agent_, SIGTERM);
    waitpid(agent_, nullptr, 0);
  }
  if (bpffs_.has_value()) {
    (void)RunCommand(StrCat(FAIRLEAD_BINARY_DIR, "/bin/fairlead-agent "
                            "--cleanup --bpf-root ",
                            bpffs_->path(), "/agent"));
  }
}

std::string ExplainWorld::Log() const {
  std::ifstream file(dir_->path() + "/agent.log");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<std::map<std::string, uint64_t>> ExplainWorld::Counters() {
  FL_ASSIGN_OR_RETURN(admin::v1::CountersReply reply,
                      agent().Counters(admin::v1::CountersRequest()));
  std::map<std::string, uint64_t> out;
  for (const auto& counter : reply.counters()) {
    out[counter.name()] = counter.packets();
  }
  return out;
}

Attempt ExplainWorld::Try(const NetnsScope& netns, const L4Address& source,
                          const L4Address& destination,
                          absl::Duration patience) {
  Attempt attempt;
  attempt.from = source;
  attempt.to = destination;
  std::string text;
  (void)netns.Run([&]() -> absl::Status {
    attempt.fd = NewSocket(destination);
    const int fd = attempt.fd.get();
    FL_RETURN_IF_ERROR(BindTo(fd, source));
    const timeval limit = absl::ToTimeval(patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (destination.protocol == Protocol::kSctp) {
      const int on = 1;  // it is told of ICMP errors
      if (destination.address.is_v4()) {
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
      } else {
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
      }
      SendSctp(fd, source.port, destination, kInit, std::string(16, 'i'));
      text = AwaitSctp(fd, source.port, kInitAck);
    } else {
      text = Converse(fd, destination);
    }
    if (text.empty() && errno == ECONNREFUSED) {
      attempt.kind = Attempt::Kind::kRefused;
    }
    return absl::OkStatus();
  });
  if (text.empty()) return attempt;
  attempt.kind = Attempt::Kind::kAnswered;
  attempt.endpoint = text.substr(0, text.find('|'));
  attempt.source = text.substr(text.find('|') + 1);
  return attempt;
}

std::string AskAgain(const Attempt& attempt) {
  std::string text;
  if (attempt.to.protocol == Protocol::kSctp) {
    SendSctp(attempt.fd.get(), attempt.from.port, attempt.to, kCookieEcho,
             "?");
    text = AwaitSctp(attempt.fd.get(), attempt.from.port, kCookieAck);
  } else if (send(attempt.fd.get(), "?", 1, MSG_NOSIGNAL) > 0) {
    text = ReceiveText(attempt.fd.get());
  }
  return text.substr(0, text.find('|'));
}

}  // namespace fairlead::harness
