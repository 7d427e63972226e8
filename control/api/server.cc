// SPDX-License-Identifier: Apache-2.0
#include "control/api/server.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "control/api/api_status.h"
#include "control/api/authentication.h"
#include "control/api/authorization.h"
#include "control/api/discovery.h"
#include "control/api/event_versions.h"
#include "control/api/forwarding_responder.h"
#include "control/api/health.h"
#include "control/api/http.h"
#include "control/api/http_server.h"
#include "control/api/ip_address_view.h"
#include "control/api/json_access.h"
#include "control/api/identity.h"
#include "control/api/kubelet_proxy.h"
#include "control/api/listen_address.h"
#include "control/api/local_transport.h"
#include "control/api/metrics_view.h"
#include "control/api/node_pods.h"
#include "control/api/protobuf_object.h"
#include "control/api/rbac_kinds.h"
#include "control/api/registry.h"
#include "control/api/route.h"
#include "control/api/service_account_tokens.h"
#include "control/api/usage_metrics.h"
#include "control/api/validation.h"
#include "control/api/verbs.h"
#include "control/api/watch.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::api {
namespace {

// The kind of object that the request's body is.
std::string BodyKind(const ApiRequest& request, std::string_view method) {
  if (method == "DELETE") return "DeleteOptions";
  if (request.subresource == "scale") return "Scale";
  for (const Subresource& sub : request.kind().subresources) {
    if (sub.name == request.subresource) return sub.kind;
  }
  return request.kind().resource.kind;
}

}  // namespace

class ApiServer::Impl {
 public:
  Impl(EventLoop* loop, store::Store* store, const KindTable* kinds,
       std::vector<Admission*> admissions, const ServerOptions& options,
       const Clock& clock)
      : loop_(loop),
        registry_(loop, store, kinds,
                  WithAuthorization(std::move(admissions)),
                  options.watch_history, clock),
        node_pods_(MakeNodePods(&registry_)),
        tokens_(&registry_, options.token_key),
        authentication_(options.client_authority, &tokens_, &clock),
        protobuf_(kinds),
        verbs_(&registry_, &authorization_),
        watches_(&registry_, {options.max_watch_queue_bytes,
                              options.bookmark_interval,
                              options.min_watch_timeout}),
        kubelets_(loop, &registry_, options.kubelet_netns,
                  options.kubelet_tls),
        usage_(loop, &registry_, &verbs_, options.kubelet_netns,
               options.kubelet_tls),
        http_(loop, {.max_body_bytes = options.max_body_bytes},
              [this](kube::Request request, const Peer& peer,
                     ResponderRef responder) {
                Serve(std::move(request), peer, std::move(responder));
              }),
        local_(MakeLocalTransport(
            loop, [this](kube::Request request, ResponderRef responder) {
              Serve(std::move(request), {.trusted = true},
                    std::move(responder));
            })) {
    registry_.set_name_suffix(options.name_suffix);
    authorization_.set_node_pods(node_pods_.get());
    // As kube-apiserver calls them.
    health_.Add("poststarthook/start-system-namespaces-controller",
                Health::Of::kAll, [this] { return namespaces_.State(); });
    health_.Add("poststarthook/rbac/bootstrap-roles", Health::Of::kAll,
                [this] { return roles_.State(); });
  }

  absl::Status Load() {
    FL_RETURN_IF_ERROR(registry_.Load());
    if (Served* namespaces = registry_.Find("", "v1", "namespaces")) {
      for (const char* name : {"default", "kube-system", "kube-public",
                               "kube-node-lease"}) {
        Ensure(namespaces, {{"metadata", {{"name", name}}}}, &namespaces_);
      }
    }
    for (Json& object : DefaultRoles()) {
      std::string plural =
          absl::AsciiStrToLower(object["kind"].get<std::string>()) + "s";
      Served* served = registry_.Find(kRbacGroup, "v1", plural);
      if (served != nullptr) Ensure(served, std::move(object), &roles_);
    }
    return absl::OkStatus();
  }

  absl::Status Listen(const ListenAddress& address, pki::TlsSource tls) {
    FL_ASSIGN_OR_RETURN(UniqueFd fd, OpenListener(address));
    ports_.push_back(BoundPort(fd.get()));
    return http_.Accept(std::move(fd), !address.address.is_v4(),
                        std::move(tls));
  }

  const std::vector<Port>& ports() const { return ports_; }
  kube::Transport* transport() { return local_.get(); }
  void AddMetrics(std::function<std::string()> metrics) {
    metrics_.push_back(std::move(metrics));
  }
  void AddHealthCheck(std::string name, std::function<absl::Status()> check) {
    health_.Add(std::move(name), Health::Of::kReady, std::move(check));
  }
  void OnBootstrapped(std::function<void()> fn) {
    if (bootstrapping() == 0) return fn();
    on_bootstrapped_.push_back(std::move(fn));
  }

 private:
  // The admissions that were given, and the one that watches roles.
  std::vector<Admission*> WithAuthorization(
      std::vector<Admission*> admissions) {
    admissions.push_back(&authorization_);
    return admissions;
  }

  // Objects that every cluster has, on their way.
  struct Bootstrap {
    int open = 0;
    absl::Status status;  // the last error

    absl::Status State() const {
      if (status.ok() && open > 0) return absl::UnavailableError("not finished");
      return status;
    }
  };
  int bootstrapping() const { return namespaces_.open + roles_.open; }

  // Makes an object if there is none of its name.
  void Ensure(Served* served, Json object, Bootstrap* part) {
    std::string ns(Text(object, {"metadata", "namespace"}));
    std::string name(Text(object, {"metadata", "name"}));
    if (served->cache.Find(ObjectKey(*served->kind, ns, name)) != nullptr) {
      return;
    }
    ++part->open;
    registry_.Write(
        served, ns, name, false,
        [object = std::move(object)](const Json* before) -> absl::StatusOr<Registry::Plan> {
          if (before != nullptr) return Registry::Plan{};
          return Registry::Plan{Registry::Plan::Action::kPut, object, false,
                                WriteVerb::kCreate, {"kube-apiserver", ""}};
        },
        [this, part](const absl::StatusOr<Registry::Outcome>& outcome) {
          if (!outcome.ok()) part->status = outcome.status();
          --part->open;
          if (bootstrapping() > 0) return;
          for (auto& fn : std::exchange(on_bootstrapped_, {})) fn();
        });
  }

  void Serve(kube::Request request, const Peer& peer,
             ResponderRef responder) {
    ++requests_;
    std::string_view target = request.target;
    size_t question = target.find('?');
    std::string path(target.substr(0, question));
    Query query = Query::Parse(
        question == target.npos ? "" : target.substr(question + 1));
    std::optional<std::vector<std::string>> segments = PathSegments(path);
    absl::StatusOr<User> user = Admit(
        request, peer,
        AttributesOf(request.method, path,
                     segments.value_or(std::vector<std::string>()), query));
    if (!user.ok()) {
      return responder->Send(
          ErrorResponse(user.status(), WantsPretty(request, query)));
    }
    if (ServeOwn(path, query, request, *responder)) return;
    if (!segments.has_value()) return SendNoPage(*responder);
    if (std::optional<kube::Response> response =
            ServeDiscovery(request, registry_.kinds())) {
      return responder->Send(*std::move(response));
    }
    ServeApi(std::move(request), std::move(query), *segments,
             *std::move(user), std::move(responder));
  }

  // Who it is that asks, if it may ask for this: a 401 or a 403 otherwise.
  absl::StatusOr<User> Admit(const kube::Request& request, const Peer& peer,
                             const Attributes& what) {
    absl::StatusOr<User> sender = authentication_.Identify(request, peer);
    if (!sender.ok()) {
      ++unauthenticated_;
      spdlog::debug("msg=unauthenticated target={} error=\"{}\"",
                    request.target, std::string(sender.status().message()));
      return Unauthorized();
    }
    FL_ASSIGN_OR_RETURN(Impersonation other, ImpersonationOf(request.headers));
    for (const Attributes& needed : other.needed) {
      FL_RETURN_IF_ERROR(Allow(*sender, needed));
    }
    User& user = other.needed.empty() ? *sender : other.user;
    FL_RETURN_IF_ERROR(Allow(user, what));
    return std::move(user);
  }

  absl::Status Allow(const User& user, const Attributes& what) {
    const Decision decision = authorization_.Authorize(user, what);
    if (decision.allowed) return absl::OkStatus();
    ++forbidden_;
    return Refuse(user, what, decision.reason);
  }

  void ServeApi(kube::Request request, Query query,
                const std::vector<std::string>& segments, User user,
                ResponderRef responder) {
    std::optional<absl::StatusOr<Route>> route =
        FindRoute(registry_, segments);
    if (!route.has_value()) return SendNoPage(*responder);
    bool pretty = WantsPretty(request, query);
    if (!route->ok()) {
      return responder->Send(ErrorResponse(route->status(), pretty));
    }
    auto api = std::make_shared<ApiRequest>();
    api->user = std::move(user);
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
    responder = Warned(*api, request.method, std::move(responder));
    const bool newer_event = IsNewerEvent(api->kind());
    if (api->representation.protobuf) {
      responder = ProtobufResponder(&protobuf_, std::move(responder));
    }
    // A patch is never protobuf; its verb says so.
    absl::Status status;
    if (request.method != "PATCH") {
      status = ProtobufRequest(protobuf_, BodyKind(*api, request.method),
                               &request);
    }
    if (newer_event) {
      if (status.ok()) status = TranslateEventRequest(api->kind(), &request);
      // From here on it is one about core/v1, whose answers are JSON.
      api->served = registry_.Find(kube::Events().group, "v1", "events");
      responder =
          NewerEventResponder(api->representation, std::move(responder));
      api->representation.protobuf = api->representation.yaml = false;
    }
    api->http = std::move(request);
    if (status.ok()) status = Dispatch(api, responder);
    if (!status.ok()) SendError(*api, *responder, status);
  }

  // A kind that is on its way out says so in every answer; writes carry their
  // own warnings.
  static ResponderRef Warned(const ApiRequest& request,
                             const std::string& method,
                             ResponderRef responder) {
    const kube::Resource& resource = request.kind().resource;
    if (!resource.group.empty() || resource.plural != "endpoints" ||
        (method != "GET" && method != "DELETE")) {
      return responder;
    }
    for (const std::string& text : EndpointsWarnings(Json(), nullptr)) {
      responder = WithHeader({"Warning", StrCat("299 - ", Quote(text))},
                             std::move(responder));
    }
    return responder;
  }

  // What is not an object: health, metrics, what there is. False: none of these.
  bool ServeOwn(std::string_view path, const Query& query,
                const kube::Request& request, Responder& responder) {
    if (path == "/metrics") {
      responder.Send(TextResponse(200, Metrics()));
      return true;
    }
    if (std::optional<kube::Response> response =
            health_.Serve(request.method, path, query)) {
      responder.Send(*std::move(response));
      return true;
    }
    if (path != "/" || request.method != "GET") return false;
    responder.Send(ListPaths(registry_.kinds(), health_.Paths()));
    return true;
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
    counter("unauthenticated_total", unauthenticated_, "counter");
    counter("forbidden_total", forbidden_, "counter");
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

  // Picks the verb. An error is answered by the caller.
  absl::Status Dispatch(const ApiRequestRef& request,
                        const ResponderRef& responder) {
    if (!request->subresource.empty()) {
      return DispatchSubresource(request, responder);
    }
    const std::string& method = request->http.method;
    if (request->kind().resource.plural == kube::IpAddresses().plural) {
      if (method != "GET") return MethodNotAllowed();
      addresses_.Open();
    }
    if (IsUsageMetrics(request->kind())) {
      if (method != "GET" || request->query.Bool("watch"))
        return MethodNotAllowed();
      usage_.Serve(request, responder);
      return absl::OkStatus();
    }
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
    if (core && kind.resource.plural == "serviceaccounts" && sub == "token") {
      if (method != "POST") return MethodNotAllowed();
      tokens_.Create(request, responder);
      return absl::OkStatus();
    }
    if (core && kind.resource.plural == "namespaces" && sub == "finalize") {
      if (method != "PUT") return MethodNotAllowed();
      verbs_.FinalizeNamespace(request, responder);
      return absl::OkStatus();
    }
    return NoSuchResource();
  }

  EventLoop* loop_;
  Authorization authorization_;
  Registry registry_;
  std::unique_ptr<NodePods> node_pods_;
  ServiceAccountTokens tokens_;
  Authentication authentication_;
  ProtobufObjects protobuf_;
  Verbs verbs_;
  IpAddressView addresses_{&registry_};
  Watches watches_;
  KubeletProxy kubelets_;
  MetricsView usage_;
  HttpServer http_;
  std::unique_ptr<kube::Transport> local_;
  std::vector<Port> ports_;
  std::vector<std::function<std::string()>> metrics_;
  Health health_;
  uint64_t requests_ = 0, unauthenticated_ = 0, forbidden_ = 0;
  Bootstrap namespaces_, roles_;
  std::vector<std::function<void()>> on_bootstrapped_;
};

ApiServer::ApiServer(EventLoop* loop, store::Store* store,
                     const KindTable* kinds,
                     std::vector<Admission*> admissions, ServerOptions options,
                     const Clock& clock)
    : impl_(std::make_unique<Impl>(loop, store, kinds, std::move(admissions),
                                   options, clock)) {}
ApiServer::~ApiServer() = default;

absl::Status ApiServer::Load() { return impl_->Load(); }
absl::Status ApiServer::Listen(const ListenAddress& address,
                               pki::TlsSource tls) {
  return impl_->Listen(address, std::move(tls));
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
void ApiServer::OnBootstrapped(std::function<void()> fn) {
  impl_->OnBootstrapped(std::move(fn));
}

}  // namespace fairlead::api
