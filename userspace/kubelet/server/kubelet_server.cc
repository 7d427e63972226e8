// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/kubelet_server.h"

#include <spdlog/spdlog.h>

#include <boost/asio/ip/tcp.hpp>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/server/access.h"
#include "userspace/kubelet/server/exec_session.h"
#include "userspace/kubelet/server/log_session.h"
#include "userspace/kubelet/server/port_forward_session.h"

namespace fairlead::kubelet {
namespace {

using tcp = boost::asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kJson[] = "application/json";
constexpr char kMetrics[] = "text/plain; version=0.0.4; charset=utf-8";

std::optional<int64_t> Number(const StreamRequest& request,
                              std::string_view name) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(request.Get(name), &value)) return std::nullopt;
  return value;
}

LogQuery DecodeLogQuery(const StreamRequest& request, absl::Time now) {
  LogQuery query;
  query.tail = Number(request, "tailLines");
  query.limit_bytes = Number(request, "limitBytes");
  query.timestamps = request.Bool("timestamps");
  if (const auto seconds = Number(request, "sinceSeconds"))
    query.since = now - absl::Seconds(*seconds);
  const std::string since = request.Get("sinceTime");
  absl::Time time;
  if (absl::ParseTime(absl::RFC3339_full, since, &time, nullptr))
    query.since = time;
  return query;
}

}  // namespace

struct KubeletServer::State : std::enable_shared_from_this<State> {
  State(EventLoop* l, FindPod f, Stats s)
      : loop(l),
        find(std::move(f)),
        stats(std::move(s)),
        acceptor(l->io()) {}

  void Accept() {
    acceptor.async_accept(
        [weak = weak_from_this()](ErrorCode error, tcp::socket socket) {
          auto self = weak.lock();
          if (self == nullptr || !self->acceptor.is_open()) return;
          if (error) {
            // Out of descriptors: some may be free later.
            self->retry = self->loop->After(absl::Milliseconds(100),
                                            [s = self.get()] { s->Accept(); });
            return;
          }
          pki::TlsContext tls;
          if (self->tls) tls = self->tls->Current(Clock::Real().Monotonic());
          std::make_shared<Connection>(self->loop, std::move(socket),
                                       std::move(tls))
              ->Start([weak](const ConnectionRef& connection,
                             const StreamRequest& request) {
                if (auto s = weak.lock()) s->Serve(connection, request);
              });
          self->Accept();
        });
  }

  // Whether the request may go on; if not, it has been answered.
  bool Admit(const ConnectionRef& connection, const StreamRequest& request) {
    if (!tls) return true;
    const auto refusal =
        CheckAccess(tls->client_authority(), connection->client_certificate(),
                    request, Clock::Real().Now());
    if (!refusal) return true;
    spdlog::debug("request refused status={} why=\"{}\"", refusal->status,
                  refusal->why);
    connection->Reply(refusal->status, kText, refusal->text);
    return false;
  }

  void Serve(const ConnectionRef& connection, const StreamRequest& request) {
    if (!Admit(connection, request)) return;
    const std::string verb = request.path.empty() ? "" : request.path[0];
    const bool get = request.method == "GET";
    if (verb == "healthz" && request.path.size() == 1 && get)
      return connection->Reply(200, kText, "ok");
    if (request.path == std::vector<std::string>{"stats", "summary"} && get)
      return connection->Reply(200, kJson, FormatSummary(stats()).dump());
    if (request.path == std::vector<std::string>{"metrics", "resource"} && get)
      return connection->Reply(200, kMetrics, FormatResourceMetrics(stats()));
    const bool logs = verb == "containerLogs";
    const bool forward = verb == "portForward";
    if (request.path.size() != (forward ? 3 : 4) ||
        (!logs && !forward && verb != "exec"))
      return connection->Reply(404, kText, "404 page not found\n");
    if (!get && (logs || request.method != "POST"))
      return connection->Reply(405, kText, "405: Method Not Allowed");
    PodWorker* pod = find(request.path[1], request.path[2]);
    if (pod == nullptr) {
      return connection->Reply(
          404, kText,
          StrCat("pod \"", request.path[1], "/", request.path[2],
                 "\" does not exist\n"));
    }
    if (forward) return Forward(connection, *pod);
    if (pod->spec().Find(request.path[3]) == nullptr) {
      return connection->Reply(
          404, kText,
          StrCat("container \"", request.path[3], "\" not found in pod \"",
                 request.path[2], "_", request.path[1], "\"\n"));
    }
    logs ? Logs(connection, request, *pod) : Exec(connection, request, *pod);
  }

  void Logs(const ConnectionRef& connection, const StreamRequest& request,
            const PodWorker& pod) {
    const auto run =
        pod.LogRun(request.path[3], request.Bool("previous"));
    if (!run.ok())
      return connection->Reply(400, kText, std::string(run.status().message()));
    std::function<bool()> running;
    if (request.Bool("follow")) {
      running = [weak = weak_from_this(), ns = pod.spec().ns,
                 name = pod.spec().name, container = request.path[3],
                 id = run->id] {
        auto self = weak.lock();
        PodWorker* now = self == nullptr ? nullptr : self->find(ns, name);
        return now != nullptr && now->IsRunning(container, id);
      };
    }
    SendLog(connection, pod.LogPath(request.path[3], run->attempt),
            DecodeLogQuery(request, Clock::Real().Now()), std::move(running));
  }

  static void Forward(const ConnectionRef& connection, const PodWorker& pod) {
    const std::optional<std::string> netns = pod.Netns();
    const std::string name = StrCat(pod.spec().name, "_", pod.spec().ns);
    if (!netns) {
      return connection->Reply(
          500, kText, StrCat("sandbox of pod \"", name, "\" is not running"));
    }
    StartPortForward(connection, {.netns = *netns, .pod = name});
  }

  static void Exec(const ConnectionRef& connection,
                   const StreamRequest& request, const PodWorker& pod) {
    ExecOptions options;
    options.in = request.Bool("input");
    options.out = request.Bool("output");
    options.err = request.Bool("error");
    options.tty = request.Bool("tty");
    options.words = pod.EnterCommand(request.path[3], options.tty);
    const std::vector<std::string> command = request.All("command");
    if (command.empty()) {
      return connection->Reply(400, kText,
                               "you must specify at least 1 command");
    }
    if (options.words.empty()) {
      return connection->Reply(
          500, kText,
          StrCat("container not found (\"", request.path[3], "\")"));
    }
    options.words.insert(options.words.end(), command.begin(), command.end());
    StartExec(connection, std::move(options));
  }

  EventLoop* loop;
  FindPod find;
  Stats stats;
  tcp::acceptor acceptor;
  std::optional<ServingTls> tls;
  Timer retry;
};

KubeletServer::KubeletServer(EventLoop* loop, FindPod find, Stats stats)
    : state_(std::make_shared<State>(loop, std::move(find),
                                     std::move(stats))) {}

KubeletServer::~KubeletServer() {
  ErrorCode ignored;
  state_->acceptor.close(ignored);
}

absl::Status KubeletServer::Listen(const IpAddress& address, Port port,
                                   std::optional<ServingTls> tls) {
  ErrorCode error;
  const auto ip = boost::asio::ip::make_address(address.ToString(), error);
  tcp::acceptor& acceptor = state_->acceptor;
  const tcp::endpoint endpoint(ip, port);
  if (!error) acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(boost::asio::socket_base::max_listen_connections,
                              error);
  if (error) {
    acceptor.close();
    return ErrnoStatus(error.value(), "listen on",
                       StrCat(address.ToString(), " port ", port));
  }
  state_->tls = std::move(tls);
  state_->Accept();
  return absl::OkStatus();
}

Port KubeletServer::port() const {
  ErrorCode ignored;
  return state_->acceptor.local_endpoint(ignored).port();
}

}  // namespace fairlead::kubelet
