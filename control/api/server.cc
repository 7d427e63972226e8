// SPDX-License-Identifier: Apache-2.0
#include "control/api/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "control/api/api_status.h"
#include "control/api/discovery.h"
#include "control/api/http.h"
#include "control/api/http_server.h"
#include "control/api/json_access.h"
#include "control/api/identity.h"
#include "control/api/kubelet_proxy.h"
#include "control/api/local_transport.h"
#include "control/api/protobuf_object.h"
#include "control/api/registry.h"
#include "control/api/verbs.h"
#include "control/api/watch.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::api {
namespace {

// Where a path leads.
struct Route {
  Served* served = nullptr;
  std::string ns, name, subresource;
};

// The segments of a path; nullopt when it is malformed ("//").
std::optional<std::vector<std::string>> Segments(std::string_view path) {
  if (!path.starts_with('/')) return std::nullopt;
  path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  std::vector<std::string> out;
  for (absl::string_view part : absl::StrSplit(Absl(path), '/')) {
    std::optional<std::string> decoded = PercentDecode(Std(part), false);
    if (!decoded.has_value() || decoded->empty()) return std::nullopt;
    out.push_back(*std::move(decoded));
  }
  return out;
}

// kNotFound with a Status: a known group, but no such resource. nullopt: not
// an API path at all.
std::optional<absl::StatusOr<Route>> FindRoute(
    Registry& registry, const std::vector<std::string>& segments) {
  size_t at;
  std::string group;
  if (segments[0] == "api") {
    at = 1;
  } else if (segments[0] == "apis" && segments.size() > 1) {
    group = segments[1];
    at = 2;
    bool known = false;
    for (const auto& served : registry.served()) {
      known |= served->kind->resource.group == group;
    }
    if (!known) return std::nullopt;
  } else {
    return std::nullopt;
  }
  if (segments.size() < at + 2) return NoSuchResource();
  std::string version = segments[at++];
  Route route;
  // "namespaces/x/pods" is pods in x; "namespaces/x" and
  // "namespaces/x/status" are the namespace itself.
  bool in_namespace = segments[at] == "namespaces" &&
                      segments.size() >= at + 3 &&
                      registry.Find(group, version, segments[at + 2]) &&
                      registry.Find(group, version, segments[at + 2])
                          ->kind->resource.namespaced;
  if (in_namespace) {
    route.ns = segments[at + 1];
    at += 2;
  }
  route.served = registry.Find(group, version, segments[at++]);
  if (route.served == nullptr || segments.size() > at + 2) {
    return NoSuchResource();
  }
  if (at < segments.size()) route.name = segments[at++];
  if (at < segments.size()) route.subresource = segments[at++];
  // An object of a namespaced kind needs its namespace.
  if (!route.name.empty() && route.served->kind->resource.namespaced &&
      route.ns.empty()) {
    return NoSuchResource();
  }
  return route;
}

// The kind of object that the request's body is.
std::string BodyKind(const ApiRequest& request, std::string_view method) {
  if (method == "DELETE") return "DeleteOptions";
  if (request.subresource == "scale") return "Scale";
  for (const Subresource& sub : request.kind().subresources) {
    if (sub.name == request.subresource) return sub.kind;
  }
  return request.kind().resource.kind;
}

absl::StatusOr<UniqueFd> OpenListener(const ListenAddress& listen) {
  bool v6 = !listen.address.is_v4();
  UniqueFd fd(socket(v6 ? AF_INET6 : AF_INET,
                     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  std::string name = StrCat(listen.address.ToString(), " port ", listen.port);
  if (!fd.valid()) return ErrnoStatus(errno, "socket for", name);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage storage{};
  socklen_t size;
  if (v6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(listen.port);
    std::copy(listen.address.bytes().begin(), listen.address.bytes().end(),
              address->sin6_addr.s6_addr);
    size = sizeof *address;
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(listen.port);
    address->sin_addr.s_addr = htonl(listen.address.v4_host_order());
    size = sizeof *address;
  }
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) {
    return ErrnoStatus(errno, "bind to", name);
  }
  if (::listen(fd.get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno, "listen on", name);
  }
  return fd;
}

Port BoundPort(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  return ntohs(storage.ss_family == AF_INET6
                   ? reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
                   : reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
}

}  // namespace

absl::StatusOr<ListenAddress> ListenAddress::Parse(std::string_view text) {
  ListenAddress out;
  auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\" is not ADDRESS:PORT[@/NETNS/PATH]: ", why));
  };
  std::string_view rest = text;
  if (size_t at = rest.find('@'); at != rest.npos) {
    out.netns = std::string(rest.substr(at + 1));
    rest = rest.substr(0, at);
  }
  size_t colon = rest.rfind(':');
  if (colon == rest.npos) return bad("no port");
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  int port;
  if (!absl::SimpleAtoi(Absl(rest.substr(colon + 1)), &port) || port < 0 ||
      port > 65535) {
    return bad("bad port");
  }
  absl::StatusOr<IpAddress> address = IpAddress::Parse(host);
  if (!address.ok()) return bad(Std(address.status().message()));
  out.address = *address;
  out.port = static_cast<Port>(port);
  return out;
}

class ApiServer::Impl {
 public:
  Impl(EventLoop* loop, store::Store* store, const KindTable* kinds,
       std::vector<Admission*> admissions, const ServerOptions& options,
       const Clock& clock)
      : loop_(loop),
        registry_(loop, store, kinds, std::move(admissions),
                  options.watch_history, clock),
        protobuf_(kinds),
        verbs_(&registry_),
        watches_(&registry_, {options.max_watch_queue_bytes,
                              options.bookmark_interval,
                              options.min_watch_timeout}),
        kubelets_(loop, &registry_, options.kubelet_netns),
        http_(loop, {.max_body_bytes = options.max_body_bytes},
              [this](kube::Request request, ResponderRef responder) {
                Serve(std::move(request), std::move(responder));
              }),
        local_(MakeLocalTransport(
            loop, [this](kube::Request request, ResponderRef responder) {
              Serve(std::move(request), std::move(responder));
            })) {
    registry_.set_name_suffix(options.name_suffix);
  }

  absl::Status Load() {
    FL_RETURN_IF_ERROR(registry_.Load());
    if (Served* namespaces = registry_.Find("", "v1", "namespaces")) {
      for (const char* name : {"default", "kube-system", "kube-public",
                               "kube-node-lease"}) {
        EnsureNamespace(namespaces, name);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Listen(const ListenAddress& address) {
    absl::StatusOr<UniqueFd> fd = absl::UnknownError("not opened");
    auto open = [&] {
      fd = OpenListener(address);
      return fd.status();
    };
    FL_RETURN_IF_ERROR(address.netns.empty() ? open()
                                             : RunInNetns(address.netns, open));
    ports_.push_back(BoundPort(fd->get()));
    return http_.Accept(*std::move(fd), !address.address.is_v4());
  }

  const std::vector<Port>& ports() const { return ports_; }
  kube::Transport* transport() { return local_.get(); }
  void AddMetrics(std::function<std::string()> metrics) {
    metrics_.push_back(std::move(metrics));
  }
  void AddHealthCheck(std::string name, std::function<absl::Status()> check) {
    checks_.emplace_back(std::move(name), std::move(check));
  }

 private:
  void EnsureNamespace(Served* namespaces, const std::string& name) {
    if (namespaces->cache.Find(name) != nullptr) return;
    ++bootstrapping_;
    Json object = {{"metadata", {{"name", name}}}};
    registry_.Write(
        namespaces, "", name, false,
        [object](const Json* before) -> absl::StatusOr<Registry::Plan> {
          if (before != nullptr) return Registry::Plan{};
          return Registry::Plan{Registry::Plan::Action::kPut, object, false,
                                WriteVerb::kCreate, {"kube-apiserver", ""}};
        },
        [this](const absl::StatusOr<Registry::Outcome>& outcome) {
          --bootstrapping_;
          if (!outcome.ok()) bootstrap_ = outcome.status();
        });
  }

  void Serve(kube::Request request, ResponderRef responder) {
    ++requests_;
    std::string_view target = request.target;
    size_t question = target.find('?');
    std::string path(target.substr(0, question));
    Query query = Query::Parse(
        question == target.npos ? "" : target.substr(question + 1));
    if (ServeOwn(path, query, request, *responder)) return;
    std::optional<std::vector<std::string>> segments = Segments(path);
    if (!segments.has_value()) return SendNoPage(*responder);
    if (std::optional<kube::Response> response =
            ServeDiscovery(request, registry_.kinds())) {
      return responder->Send(*std::move(response));
    }
    std::optional<absl::StatusOr<Route>> route =
        FindRoute(registry_, *segments);
    if (!route.has_value()) return SendNoPage(*responder);
    bool pretty = WantsPretty(request, query);
    if (!route->ok()) {
      return responder->Send(ErrorResponse(route->status(), pretty));
    }
    auto api = std::make_shared<ApiRequest>();
    api->served = (*route)->served;
    api->ns = std::move((*route)->ns);
    api->name = std::move((*route)->name);
    api->subresource = std::move((*route)->subresource);
    absl::StatusOr<Representation> how =
        Negotiate(request, query, api->name.empty(),
                  HasProtobuf(api->kind()));
    if (!how.ok()) {
      return responder->Send(
          ErrorResponse(how.status(), pretty || api->name.empty()));
    }
    api->representation = *std::move(how);
    api->query = std::move(query);
    if (api->representation.protobuf) {
      responder = ProtobufResponder(&protobuf_, std::move(responder));
    }
    // A patch is never protobuf; its verb says so.
    absl::Status status;
    if (request.method != "PATCH") {
      status = ProtobufRequest(protobuf_, BodyKind(*api, request.method),
                               &request);
    }
    api->http = std::move(request);
    if (status.ok()) status = Dispatch(api, responder);
    if (!status.ok()) SendError(*api, *responder, status);
  }

  // What is not an object: health, metrics. False: not one of these.
  bool ServeOwn(std::string_view path, const Query& query,
                const kube::Request& request, Responder& responder) {
    if (path == "/metrics") {
      responder.Send(TextResponse(200, Metrics()));
      return true;
    }
    for (std::string_view check : {"/healthz", "/livez", "/readyz"}) {
      if (path != check) continue;
      if (request.method != "GET" && request.method != "HEAD") {
        responder.Send(ErrorResponse(MethodNotAllowed(), false));
      } else {
        SendHealth(check.substr(1), query.Has("verbose"), responder);
      }
      return true;
    }
    return false;
  }

  absl::Status Bootstrapped() const {
    if (!bootstrap_.ok()) return bootstrap_;
    if (bootstrapping_ > 0) {
      return absl::UnavailableError("namespaces are being made");
    }
    return absl::OkStatus();
  }

  void SendHealth(std::string_view name, bool verbose, Responder& responder) {
    std::string text = "[+]ping ok\n";
    bool healthy = true;
    auto add = [&](std::string_view check, const absl::Status& status) {
      healthy &= status.ok();
      StrAppend(&text, status.ok() ? "[+]" : "[-]", check,
                status.ok() ? " ok" : StrCat(" failed: ", status.message()),
                "\n");
    };
    add("poststarthook/bootstrap", Bootstrapped());
    // Alive is less than ready: a restart would not help those.
    if (name != "livez") {
      for (const auto& [check, fn] : checks_) add(check, fn());
    }
    if (healthy && !verbose) return responder.Send(TextResponse(200, "ok"));
    StrAppend(&text, name, " check ", healthy ? "passed" : "failed", "\n");
    responder.Send(TextResponse(healthy ? 200 : 500, text));
  }

  std::string Metrics() {
    const Registry::Counters& writes = registry_.counters();
    std::string out;
    auto counter = [&](std::string_view name, uint64_t value,
                       std::string_view type) {
      StrAppend(&out, "# TYPE fl_api_", name, " ", type, "\nfl_api_", name,
                " ", value, "\n");
    };
    counter("requests_total", requests_, "counter");
    counter("http_requests_total", http_.requests(), "counter");
    counter("http_connections", http_.connections(), "gauge");
    counter("writes_total", writes.writes, "counter");
    counter("no_op_writes_total", writes.no_ops, "counter");
    counter("failed_writes_total", writes.failures, "counter");
    counter("pending_writes", writes.pending, "gauge");
    counter("revision", registry_.revision(), "gauge");
    counter("watches", watches_.open(), "gauge");
    counter("watch_events_total", watches_.events_sent(), "counter");
    counter("watches_cut_off_total", watches_.cut_off(), "counter");
    EventLoop::Stats loop = loop_->stats();
    counter("loop_longest_microseconds",
            absl::ToInt64Microseconds(loop.longest), "gauge");
    out += "# TYPE fl_api_objects gauge\n";
    for (const auto& served : registry_.served()) {
      StrAppend(&out, "fl_api_objects{resource=\"", GroupResource(*served->kind),
                "\"} ", served->cache.objects().size(), "\n");
    }
    for (const auto& more : metrics_) out += more();
    return out;
  }

  void SendNoPage(Responder& responder) {
    responder.Send(TextResponse(404, "404 page not found\n"));
  }

  // An administrator may act as somebody else, with that user's rights.
  static absl::Status CheckImpersonated(const ApiRequest& request) {
    if (request.Header("impersonate-user").empty()) return absl::OkStatus();
    bool collection = request.name.empty();
    return Authorize(UserOf(request.http),
                     VerbOf(request.http.method, collection,
                            request.query.Bool("watch")),
                     request.kind(), request.subresource, request.ns,
                     request.name);
  }

  // Picks the verb. An error is answered by the caller.
  absl::Status Dispatch(const ApiRequestRef& request,
                        const ResponderRef& responder) {
    FL_RETURN_IF_ERROR(CheckImpersonated(*request));
    if (!request->subresource.empty()) {
      return DispatchSubresource(request, responder);
    }
    const std::string& method = request->http.method;
    if (request->kind().review) {
      if (method != "POST" || !request->name.empty()) {
        return MethodNotAllowed();
      }
      verbs_.Review(request, responder);
      return absl::OkStatus();
    }
    if (request->name.empty()) {
      return DispatchCollection(request, responder);
    }
    if (method == "GET") {
      // A watch of one object, in the old form.
      if (request->query.Bool("watch")) {
        watches_.Open(request, responder);
      } else {
        verbs_.Get(request, responder);
      }
    } else if (method == "PUT") {
      verbs_.Update(request, responder);
    } else if (method == "PATCH") {
      verbs_.Patch(request, responder);
    } else if (method == "DELETE") {
      verbs_.Delete(request, responder);
    } else {
      return MethodNotAllowed();
    }
    return absl::OkStatus();
  }

  absl::Status DispatchCollection(const ApiRequestRef& request,
                                  const ResponderRef& responder) {
    const std::string& method = request->http.method;
    // Writing to all namespaces at once, or removing all namespaces.
    bool everywhere =
        request->kind().resource.namespaced && request->ns.empty();
    if (method == "GET") {
      if (request->query.Bool("watch")) {
        watches_.Open(request, responder);
      } else {
        verbs_.List(request, responder);
      }
    } else if (method == "POST" && !everywhere) {
      verbs_.Create(request, responder);
    } else if (method == "DELETE" && !everywhere &&
               !request->kind().no_delete_collection) {
      verbs_.DeleteCollection(request, responder);
    } else {
      return MethodNotAllowed();
    }
    return absl::OkStatus();
  }

  absl::Status DispatchSubresource(const ApiRequestRef& request,
                                   const ResponderRef& responder) {
    const Kind& kind = request->kind();
    const std::string& method = request->http.method;
    const std::string& sub = request->subresource;
    bool core = kind.resource.group.empty();
    if (sub == "status" && kind.has_status) {
      if (method == "GET") {
        verbs_.Get(request, responder);
      } else if (method == "PUT") {
        verbs_.Update(request, responder);
      } else if (method == "PATCH") {
        verbs_.Patch(request, responder);
      } else {
        return MethodNotAllowed();
      }
      return absl::OkStatus();
    }
    if (sub == "scale" && kind.has_scale) {
      if (method == "GET") {
        verbs_.GetScale(request, responder);
      } else if (method == "PUT" || method == "PATCH") {
        verbs_.WriteScale(request, responder);
      } else {
        return MethodNotAllowed();
      }
      return absl::OkStatus();
    }
    bool pod = core && kind.resource.plural == "pods";
    if (pod && (sub == "binding" || sub == "eviction")) {
      if (method != "POST") return MethodNotAllowed();
      sub == "binding" ? verbs_.Bind(request, responder)
                       : verbs_.Evict(request, responder);
      return absl::OkStatus();
    }
    if (pod && KubeletProxy::Serves(sub))
      return kubelets_.Serve(request, responder);
    if (core && kind.resource.plural == "namespaces" && sub == "finalize") {
      if (method != "PUT") return MethodNotAllowed();
      verbs_.FinalizeNamespace(request, responder);
      return absl::OkStatus();
    }
    return NoSuchResource();
  }

  EventLoop* loop_;
  Registry registry_;
  ProtobufObjects protobuf_;
  Verbs verbs_;
  Watches watches_;
  KubeletProxy kubelets_;
  HttpServer http_;
  std::unique_ptr<kube::Transport> local_;
  std::vector<Port> ports_;
  std::vector<std::function<std::string()>> metrics_;
  std::vector<std::pair<std::string, std::function<absl::Status()>>> checks_;
  uint64_t requests_ = 0;
  int bootstrapping_ = 0;
  absl::Status bootstrap_;
};

ApiServer::ApiServer(EventLoop* loop, store::Store* store,
                     const KindTable* kinds,
                     std::vector<Admission*> admissions, ServerOptions options,
                     const Clock& clock)
    : impl_(std::make_unique<Impl>(loop, store, kinds, std::move(admissions),
                                   options, clock)) {}
ApiServer::~ApiServer() = default;

absl::Status ApiServer::Load() { return impl_->Load(); }
absl::Status ApiServer::Listen(const ListenAddress& address) {
  return impl_->Listen(address);
}
std::vector<Port> ApiServer::ports() const { return impl_->ports(); }
kube::Transport* ApiServer::transport() { return impl_->transport(); }
void ApiServer::AddMetrics(std::function<std::string()> metrics) {
  impl_->AddMetrics(std::move(metrics));
}
void ApiServer::AddHealthCheck(std::string name,
                               std::function<absl::Status()> check) {
  impl_->AddHealthCheck(std::move(name), std::move(check));
}

}  // namespace fairlead::api
