// SPDX-License-Identifier: Apache-2.0
#include "control/api/kubelet_proxy.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/kubelet_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr size_t kChunk = 64u << 10;
constexpr size_t kMaxHead = 64u << 10;
constexpr size_t kMaxError = 8u << 10;     // of a kubelet's error text
constexpr size_t kMaxQueue = 1u << 20;     // towards a slow client
constexpr absl::Duration kDialLimit = absl::Seconds(10);

// Parameters of the API and what the kubelet calls them.
struct Parameter {
  const char* api;
  const char* kubelet;
};
constexpr Parameter kLogParameters[] = {
    {"follow", "follow"},           {"limitBytes", "limitBytes"},
    {"previous", "previous"},       {"sinceSeconds", "sinceSeconds"},
    {"sinceTime", "sinceTime"},     {"tailLines", "tailLines"},
    {"timestamps", "timestamps"}};
constexpr Parameter kExecParameters[] = {
    {"stderr", "error"}, {"stdin", "input"}, {"stdout", "output"},
    {"tty", "tty"}};

std::string Encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '_' || c == '.' ||
        c == '~') {
      out += c;
    } else {
      constexpr char kHex[] = "0123456789ABCDEF";
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::vector<std::string> NamesOf(const Json& pod, const char* list) {
  std::vector<std::string> names;
  for (const Json& c : List(pod, {"spec", list}))
    names.emplace_back(Text(c, "name"));
  return names;
}

std::string KubeletTarget(const ApiRequest& request,
                          const std::string& container) {
  if (request.subresource == "portforward")
    return StrCat("/portForward/", request.ns, "/", request.name);
  const bool log = request.subresource == "log";
  std::vector<std::string> query;
  if (log) {
    for (const Parameter& p : kLogParameters) {
      const std::string_view value = request.query.Get(p.api);
      if (!value.empty() && value != "false")
        query.push_back(StrCat(p.kubelet, "=", Encode(value)));
    }
  } else {
    for (const std::string_view word : request.query.All("command"))
      query.push_back(StrCat("command=", Encode(word)));
    for (const Parameter& p : kExecParameters) {
      if (request.query.Bool(p.api)) query.push_back(StrCat(p.kubelet, "=1"));
    }
  }
  return StrCat(log ? "/containerLogs/" : "/exec/", request.ns, "/",
                request.name, "/", container, query.empty() ? "" : "?",
                absl::StrJoin(query, "&"));
}

// One request to a kubelet, until both sides are done.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(EventLoop* loop, ApiRequestRef request, ResponderRef responder,
           KubeletAddress node, std::string target,
           const std::shared_ptr<kube::TlsSettings>& tls)
      : loop_(loop),
        request_(std::move(request)),
        responder_(std::move(responder)),
        node_(std::move(node)),
        target_(std::move(target)),
        scheme_(tls == nullptr ? "http://" : "https://"),
        stream_(kube::MakeByteStream(loop->io(), tls, node_.host)) {}

  void Start(const std::string& netns) {
    const absl::StatusOr<tcp::endpoint> endpoint =
        OpenKubeletSocket(node_, netns, &stream_->socket());
    if (!endpoint.ok())
      return NotDialled(std::string(endpoint.status().message()));
    limit_ = loop_->After(kDialLimit, [this] {
      timed_out_ = true;
      ErrorCode ignored;
      stream_->socket().close(ignored);
    });
    stream_->socket().async_connect(
        *endpoint, [self = shared_from_this()](ErrorCode error) {
          self->OnConnected(error);
        });
  }

 private:
  bool upgrading() const { return request_->subresource != "log"; }

  void Fail(ApiStatus status) {
    limit_.Cancel();
    SendError(*request_, *responder_, MakeStatus(std::move(status)));
    Close();
  }

  void NotDialled(const std::string& why) {
    NoConnection(StrCat("dial tcp",
                        why.starts_with("lookup") ? "" : StrCat(" ", Peer()),
                        ": ", why));
  }

  void NoConnection(const std::string& why) {
    Fail({500, "",
          upgrading() ? StrCat("error dialing backend: ", why)
                           : StrCat("Get \"", Url(), "\": ", why),
          "", ""});
  }

  std::string Url() const { return StrCat(scheme_, Peer(), target_); }

  std::string Peer() const { return node_.HostPort(); }

  void OnConnected(ErrorCode error) {
    if (error) {
      return NotDialled(error == asio::error::operation_aborted
                            ? "i/o timeout"
                            : StrCat("connect: ", error.message()));
    }
    stream_->Handshake([self = shared_from_this()](absl::Status status) {
      if (status.ok()) return self->SendHead();
      self->NoConnection(self->timed_out_
                             ? "net/http: TLS handshake timeout"
                             : std::string(status.message()));
    });
  }

  void SendHead() {
    head_ = StrCat(upgrading() ? "GET" : request_->http.method, " ",
                   target_, " HTTP/1.1\r\nHost: ", Peer(), "\r\n");
    if (upgrading()) {
      // The handshake is between the client and the kubelet.
      for (const auto& [name, value] : request_->http.headers) {
        const std::string lower = absl::AsciiStrToLower(name);
        if (lower == "connection" || lower == "upgrade" ||
            lower == "x-stream-protocol-version" ||
            lower.starts_with("sec-websocket-"))
          StrAppend(&head_, name, ": ", value, "\r\n");
      }
    } else {
      head_ += "Connection: close\r\n";
    }
    head_ += "\r\n";
    responder_->OnClosed([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->Close();
    });
    stream_->Write(asio::buffer(head_),
                   [self = shared_from_this()](ErrorCode e, size_t) {
                     self->answer_.clear();
                     e ? self->Broken() : self->ReadHead();
                   });
  }

  void Broken() {
    if (!closed_)
      Fail({500, "", StrCat("Get \"", Url(), "\": EOF"), "", ""});
  }

  void ReadHead() {
    stream_->Read(
        asio::buffer(chunk_),
        [self = shared_from_this()](ErrorCode error, size_t n) {
          if (error) return self->Broken();
          self->answer_.append(self->chunk_.data(), n);
          const size_t end = self->answer_.find("\r\n\r\n");
          if (end != std::string::npos) return self->OnHead(end + 4);
          if (self->answer_.size() > kMaxHead) return self->Broken();
          self->ReadHead();
        });
  }

  void OnHead(size_t end) {
    limit_.Cancel();
    int status = 0;
    if (answer_.size() < 12 ||
        !absl::SimpleAtoi(Absl(std::string_view(answer_).substr(9, 3)),
                          &status)) {
      return Broken();
    }
    std::string head = answer_.substr(0, end);
    std::string body = answer_.substr(end);
    if (status == 101 && upgrading()) return OnUpgraded(head, body);
    if (status == 200 && !upgrading()) {
      responder_->Begin({.status = 200,
                         .headers = {{"Content-Type", "text/plain"}},
                         .body = ""});
      begun_ = true;
      return OnPiece(std::move(body));
    }
    error_status_ = status;
    answer_ = std::move(body);
    ReadError();
  }

  // The whole of what the kubelet has to say about it.
  void ReadError() {
    stream_->Read(
        asio::buffer(chunk_),
        [self = shared_from_this()](ErrorCode error, size_t n) {
          self->answer_.append(self->chunk_.data(), n);
          if (!error && self->answer_.size() < kMaxError)
            return self->ReadError();
          self->SendKubeletError();
        });
  }

  void SendKubeletError() {
    if (closed_) return;
    if (error_status_ == 400) return Fail({400, "BadRequest", answer_, "", ""});
    // Kubernetes' words to those who may ask it, when it may not.
    if (error_status_ == 401 && !upgrading()) {
      return Fail({401, "Unauthorized",
                   StrCat("the server has asked for the client to provide "
                          "credentials ( pods/log ", request_->name, ")"),
                   "", ""});
    }
    if (error_status_ == 403 && !upgrading()) {
      return Fail({403, "Forbidden",
                   StrCat(answer_, " ( pods/log ", request_->name, ")"), "",
                   ""});
    }
    if (error_status_ == 404) {
      return Fail({404, "NotFound",
                   StrCat("the server could not find the requested resource ( "
                          "pods/",
                          request_->subresource, " ", request_->name, ")"),
                   "", ""});
    }
    Fail({500, "InternalError",
          StrCat("Internal error occurred: ",
                 upgrading() ? "unable to upgrade connection: " : "",
                 answer_),
          "", ""});
  }

  void OnUpgraded(const std::string& head, std::string body) {
    const bool upgraded = responder_->Upgrade(
        head, [weak = weak_from_this()](std::string data,
                                        std::function<void()> more) {
          auto self = weak.lock();
          if (self != nullptr) self->ToKubelet(std::move(data), std::move(more));
        });
    if (!upgraded) return Broken();
    begun_ = true;
    OnPiece(std::move(body));
  }

  void ToKubelet(std::string data, std::function<void()> more) {
    auto text = std::make_shared<std::string>(std::move(data));
    stream_->Write(asio::buffer(*text),
                   [self = shared_from_this(), text,
                    more = std::move(more)](ErrorCode error, size_t) {
                     error ? self->Finish() : more();
                   });
  }

  void OnPiece(std::string piece) {
    if (closed_) return;
    if (!piece.empty())
      responder_->Write(std::make_shared<std::string>(std::move(piece)));
    if (responder_->queued_bytes() < kMaxQueue) return ReadMore();
    responder_->OnDrained([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->ReadMore();
    });
    // Kept alive until then: nothing is being read meanwhile.
    keep_ = shared_from_this();
  }

  void ReadMore() {
    const auto alive = std::exchange(keep_, nullptr);
    if (closed_) return;
    stream_->Read(
        asio::buffer(chunk_),
        [self = shared_from_this()](ErrorCode error, size_t n) {
          if (error) return self->Finish();
          self->OnPiece(std::string(self->chunk_.data(), n));
        });
  }

  void Finish() {
    if (closed_) return;
    if (begun_) responder_->End();
    Close();
  }

  void Close() {
    closed_ = true;
    limit_.Cancel();
    ErrorCode ignored;
    stream_->socket().close(ignored);
    keep_.reset();
  }

  EventLoop* loop_;
  ApiRequestRef request_;
  ResponderRef responder_;
  KubeletAddress node_;
  std::string target_, scheme_, head_, answer_;
  std::unique_ptr<kube::ByteStream> stream_;
  Timer limit_;
  std::array<char, kChunk> chunk_;
  int error_status_ = 0;
  bool begun_ = false, closed_ = false, timed_out_ = false;
  std::shared_ptr<Exchange> keep_;
};

// The pod as it is, or a 404.
absl::StatusOr<Json> FindPod(const ApiRequest& request) {
  const store::ObjectRef object =
      request.served->cache.Find(
          ObjectKey(request.kind(), request.ns, request.name));
  if (object == nullptr) return NotFound(request.kind(), request.name);
  return ParseObject(*request.served, *object);
}

}  // namespace

bool KubeletProxy::Serves(std::string_view subresource) {
  return subresource == "log" || subresource == "exec" ||
         subresource == "portforward";
}

absl::StatusOr<std::string> ChooseContainer(const Json& pod,
                                            std::string_view wanted) {
  const std::string name(Text(pod, {"metadata", "name"}));
  const std::vector<std::string> containers = NamesOf(pod, "containers");
  const std::vector<std::string> inits = NamesOf(pod, "initContainers");
  if (!wanted.empty()) {
    for (const auto* list : {&containers, &inits}) {
      for (const std::string& c : *list) {
        if (c == wanted) return c;
      }
    }
    return BadRequest(
        StrCat("container ", wanted, " is not valid for pod ", name));
  }
  if (containers.size() == 1) return containers[0];
  std::string why =
      StrCat("a container name must be specified for pod ", name,
             ", choose one of: [", absl::StrJoin(containers, " "), "]");
  if (!inits.empty()) {
    StrAppend(&why, " or one of the init containers: [",
              absl::StrJoin(inits, " "), "]");
  }
  return BadRequest(why);
}

absl::Status KubeletProxy::Serve(const ApiRequestRef& request,
                                 const ResponderRef& responder) {
  const bool log = request->subresource == "log";
  if (request->http.method != "GET" &&
      (log || request->http.method != "POST")) {
    return MethodNotAllowed();
  }
  FL_ASSIGN_OR_RETURN(const Json pod, FindPod(*request));
  std::string container;
  if (request->subresource != "portforward") {
    FL_ASSIGN_OR_RETURN(container,
                        ChooseContainer(pod, request->query.Get("container")));
  }
  const std::string node_name(Text(pod, {"spec", "nodeName"}));
  if (node_name.empty()) {
    if (!log) {
      return BadRequest(
          StrCat("pod ", request->name, " does not have a host assigned"));
    }
    responder->Send({.status = 204, .headers = {}, .body = ""});
    return absl::OkStatus();
  }
  Served* nodes = registry_->Find("", "v1", "nodes");
  const store::ObjectRef node = nodes->cache.Find(node_name);
  if (node == nullptr) return NotFound(*nodes->kind, node_name);
  KubeletAddress address =
      KubeletAddressOf(ParseObject(*nodes, *node), node_name);
  std::make_shared<Exchange>(loop_, request, responder, std::move(address),
                             KubeletTarget(*request, container),
                             tls_ ? tls_() : nullptr)
      ->Start(netns_);
  return absl::OkStatus();
}

}  // namespace fairlead::api
