// SPDX-License-Identifier: Apache-2.0
// fairlead-echo: what pods run in tests and in the demo. It answers over TCP,
// UDP and HTTP with its pod's name and the client's address.
//
// One thread a connection: the number of connections is small, and blocking
// code shows at a glance that a request under way is finished before exit.
#include <poll.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/apps/sockets.h"

namespace fairlead::apps {
namespace {

constexpr char kUsage[] =
    R"(Usage: fairlead-echo [--tcp PORT] [--udp PORT] [--http PORT] [options]

Answers with its pod's name and the client's address, over IPv4 and IPv6.

  --tcp PORT    lines: each comes back as "POD CLIENT LINE"; stays open
  --udp PORT    datagrams: "POD CLIENT PAYLOAD"
  --http PORT   GET /            {"pod":...,"client":...,"server":...}
                GET /hostname    the pod's name as text
                GET /healthz     200, or 503 after /fail and until /ok
                GET /sleep?ms=N  as /, after N ms
                GET /exit?code=N ends the program at once
                Each port flag may be given more than once.
  --name NAME   instead of $POD_NAME or the host's name
  --grace TIME  after SIGTERM serve on for so long ("2s", "500ms"; default 2s),
                then finish the requests under way and exit 0
  --unready     start with /healthz failing

Example: POD_NAME=web-1 fairlead-echo --http 8080 --tcp 7000 --udp 7001
)";

struct Options {
  std::vector<int> tcp, udp, http;
  std::string name;
  std::chrono::milliseconds grace{2000};
  bool healthy = true;
};

struct Server {
  Options options;
  std::atomic<bool> healthy{true};
  std::atomic<bool> terminating{false};
  std::atomic<bool> closing{false};  // no new connections, no further requests
  std::atomic<int> requests{0};      // under way
  std::mutex mutex;
  std::set<int> connections;  // guarded by mutex
};

void Die(const std::string& what) {
  fprintf(stderr, "fairlead-echo: %s\n", what.c_str());
  exit(1);
}

int Listen(int type, int port) {
  int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
  const bool v6 = fd >= 0;
  if (!v6) fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  if (fd < 0) Die("socket: " + std::string(strerror(errno)));
  const int on = 1, off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  SocketAddress any;
  if (v6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
    auto* a = reinterpret_cast<sockaddr_in6*>(&any.storage);
    a->sin6_family = AF_INET6;
    a->sin6_port = htons(static_cast<uint16_t>(port));
    any.size = sizeof(*a);
  } else {
    auto* a = reinterpret_cast<sockaddr_in*>(&any.storage);
    a->sin_family = AF_INET;
    a->sin_port = htons(static_cast<uint16_t>(port));
    any.size = sizeof(*a);
  }
  if (bind(fd, any.get(), any.size) != 0)
    Die("bind port " + std::to_string(port) + ": " + strerror(errno));
  if (type == SOCK_STREAM && listen(fd, 1024) != 0)
    Die("listen: " + std::string(strerror(errno)));
  return fd;
}

std::string LocalAddress(int fd) {
  SocketAddress local;
  getsockname(fd, local.get(), &local.size);
  return ToString(local);
}

// Reads up to and with `end`; false at the end of the stream.
bool ReadUntil(int fd, const char* end, std::string* buffer, std::string* out) {
  while (true) {
    const size_t at = buffer->find(end);
    if (at != std::string::npos) {
      *out = buffer->substr(0, at);
      buffer->erase(0, at + strlen(end));
      return true;
    }
    if (buffer->size() > 65536) return false;
    char chunk[4096];
    const ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
    if (n <= 0) return false;
    buffer->append(chunk, static_cast<size_t>(n));
  }
}

void ServeTcp(Server* server, int fd, const std::string& client) {
  std::string buffer, line;
  while (ReadUntil(fd, "\n", &buffer, &line)) {
    ++server->requests;
    const bool sent =
        WriteAll(fd, server->options.name + " " + client + " " + line + "\n");
    --server->requests;
    if (!sent || server->closing) break;
  }
}

int QueryNumber(const std::string& target, const char* key, int otherwise) {
  const size_t at = target.find(std::string(key) + "=");
  return at == std::string::npos
             ? otherwise
             : atoi(target.c_str() + at + strlen(key) + 1);
}

struct HttpAnswer {
  int status = 200;
  const char* type = "text/plain";
  std::string body;
};

HttpAnswer AnswerHttp(Server* server, int fd, const std::string& target,
                      const std::string& client) {
  const std::string path = target.substr(0, target.find('?'));
  if (path == "/healthz") {
    return server->healthy ? HttpAnswer{200, "text/plain", "ok\n"}
                           : HttpAnswer{503, "text/plain", "failing\n"};
  }
  if (path == "/fail" || path == "/ok") {
    server->healthy = path == "/ok";
    return {200, "text/plain", server->options.name + "\n"};
  }
  if (path == "/hostname")
    return {200, "text/plain", server->options.name + "\n"};
  if (path == "/exit") _exit(QueryNumber(target, "code", 1));
  if (path == "/sleep") {
    std::this_thread::sleep_for(
        std::chrono::milliseconds(QueryNumber(target, "ms", 100)));
  } else if (path != "/") {
    return {404, "text/plain", "not found\n"};
  }
  return {200, "application/json",
          "{\"pod\":" + JsonQuote(server->options.name) +
              ",\"client\":" + JsonQuote(client) +
              ",\"server\":" + JsonQuote(LocalAddress(fd)) + "}\n"};
}

bool HasHeader(const std::string& head, const char* line) {
  return strcasestr(head.c_str(), line) != nullptr;
}

void ServeHttp(Server* server, int fd, const std::string& client) {
  std::string buffer, head;
  while (ReadUntil(fd, "\r\n\r\n", &buffer, &head)) {
    ++server->requests;
    const size_t space = head.find(' ');
    const size_t next = head.find(' ', space + 1);
    HttpAnswer answer{400, "text/plain", "bad request\n"};
    if (space != std::string::npos && next != std::string::npos) {
      answer = AnswerHttp(server, fd, head.substr(space + 1, next - space - 1),
                          client);
    }
    const bool close = server->terminating || answer.status == 400 ||
                       HasHeader(head, "connection: close") ||
                       head.find(" HTTP/1.0") != std::string::npos ||
                       HasHeader(head, "content-length:");
    const std::string reply =
        "HTTP/1.1 " + std::to_string(answer.status) +
        (answer.status == 200 ? " OK" : " Error") +
        "\r\nContent-Type: " + answer.type +
        "\r\nContent-Length: " + std::to_string(answer.body.size()) +
        (close ? "\r\nConnection: close" : "") + "\r\n\r\n" +
        (head.starts_with("HEAD ") ? "" : answer.body);
    const bool sent = WriteAll(fd, reply);
    --server->requests;
    if (!sent || close || server->closing) break;
  }
}

using Serve = void (*)(Server*, int, const std::string&);

void StartConnection(Server* server, Serve serve, int fd,
                     const SocketAddress& peer) {
  {
    const std::lock_guard lock(server->mutex);
    server->connections.insert(fd);
  }
  std::thread([server, serve, fd, client = ToString(peer)] {
    serve(server, fd, client);
    const std::lock_guard lock(server->mutex);
    server->connections.erase(fd);
    close(fd);
  }).detach();
}

// Until `closing`, and then until the backlog is empty: a connection that the
// kernel has accepted for us gets its answer, not a reset.
void Accept(Server* server, Serve serve, int listener) {
  while (true) {
    pollfd ready{.fd = listener, .events = POLLIN, .revents = 0};
    const bool closing = server->closing;
    if (poll(&ready, 1, closing ? 0 : 20) <= 0) {
      if (closing) break;
      continue;
    }
    SocketAddress peer;
    const int fd = accept4(listener, peer.get(), &peer.size, SOCK_CLOEXEC);
    if (fd >= 0) StartConnection(server, serve, fd, peer);
  }
  close(listener);
}

// Answers from the address that was asked, also on a host with several.
void ServeUdp(Server* server, int fd) {
  char payload[65536];
  while (true) {
    SocketAddress peer;
    alignas(cmsghdr) char control[256];
    iovec in{payload, sizeof(payload)};
    msghdr message{peer.get(), peer.size, &in, 1, control, sizeof(control), 0};
    const ssize_t n = recvmsg(fd, &message, 0);
    if (n < 0) continue;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr;
         c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
        reinterpret_cast<in6_pktinfo*>(CMSG_DATA(c))->ipi6_ifindex = 0;
    }
    std::string reply = server->options.name + " " + ToString(peer) + " " +
                        std::string(payload, static_cast<size_t>(n));
    iovec out{reply.data(), reply.size()};
    message.msg_iov = &out;
    message.msg_flags = 0;
    if (message.msg_controllen == 0) message.msg_control = nullptr;
    sendmsg(fd, &message, MSG_NOSIGNAL);
  }
}

std::chrono::milliseconds ParseTime(const std::string& text) {
  char* unit = nullptr;
  const double value = strtod(text.c_str(), &unit);
  const std::string rest = unit;
  if (rest != "s" && rest != "ms" && !rest.empty())
    Die("not a time: " + text + " (write 2s or 500ms)");
  return std::chrono::milliseconds(
      static_cast<int64_t>(value * (rest == "ms" ? 1 : 1000)));
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  char host[256] = "unknown";
  gethostname(host, sizeof(host) - 1);
  const char* pod = getenv("POD_NAME");
  options.name = pod != nullptr && *pod != '\0' ? pod : host;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i], value;
    if (flag == "--help" || flag == "-h") {
      fputs(kUsage, stdout);
      exit(0);
    }
    if (flag == "--unready") {
      options.healthy = false;
      continue;
    }
    if (const size_t eq = flag.find('='); eq != std::string::npos) {
      value = flag.substr(eq + 1);
      flag.resize(eq);
    } else if (i + 1 < argc) {
      value = argv[++i];
    }
    if (value.empty()) Die(flag + " needs a value; see --help");
    const int port = atoi(value.c_str());
    if (flag == "--tcp") options.tcp.push_back(port);
    else if (flag == "--udp") options.udp.push_back(port);
    else if (flag == "--http") options.http.push_back(port);
    else if (flag == "--name") options.name = value;
    else if (flag == "--grace") options.grace = ParseTime(value);
    else Die("unknown flag " + flag + "; see --help");
  }
  if (options.tcp.empty() && options.udp.empty() && options.http.empty())
    options.http.push_back(8080);
  return options;
}

void Terminate(Server* server, std::vector<std::thread>* acceptors) {
  server->terminating = true;
  // Another SIGTERM within the grace changes nothing, SIGINT ends it.
  std::this_thread::sleep_for(server->options.grace);
  server->closing = true;
  for (std::thread& t : *acceptors) t.join();
  // Connections that have been accepted but not yet answered come first.
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(10);
  int quiet = 0;
  while (quiet < 3 && std::chrono::steady_clock::now() < deadline) {
    quiet = server->requests == 0 ? quiet + 1 : 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::lock_guard lock(server->mutex);
  for (const int fd : server->connections) shutdown(fd, SHUT_RDWR);
}

int Main(int argc, char** argv) {
  Server server;
  server.options = ParseOptions(argc, argv);
  server.healthy = server.options.healthy;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::vector<std::thread> acceptors;
  for (const int port : server.options.tcp)
    acceptors.emplace_back(Accept, &server, ServeTcp,
                           Listen(SOCK_STREAM, port));
  for (const int port : server.options.http)
    acceptors.emplace_back(Accept, &server, ServeHttp,
                           Listen(SOCK_STREAM, port));
  for (const int port : server.options.udp)
    std::thread(ServeUdp, &server, Listen(SOCK_DGRAM, port)).detach();
  printf("fairlead-echo: %s serves\n", server.options.name.c_str());
  fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  if (signal == SIGTERM) {
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGTERM, &ignore, nullptr);
    Terminate(&server, &acceptors);
  }
  printf("fairlead-echo: %s ends\n", server.options.name.c_str());
  fflush(stdout);
  _exit(0);
}

}  // namespace
}  // namespace fairlead::apps

int main(int argc, char** argv) { return fairlead::apps::Main(argc, argv); }
