// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/port_forward_session.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <boost/beast/websocket/rfc6455.hpp>
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/server/pod_socket.h"
#include "userspace/kubelet/server/tunnel.h"
#include "userspace/kubelet/spdy/session.h"

namespace fairlead::kubelet {
namespace {

constexpr char kProtocol[] = "portforward.k8s.io";
constexpr char kTunnelled[] = "SPDY/3.1+portforward.k8s.io";
constexpr size_t kChunk = 64u << 10;
// What pods have not taken yet; the client waits beyond that.
constexpr size_t kMaxInput = 4u << 20;
// What the client has not taken yet: of pods' data, and with the answers to
// its own frames, which it should read.
constexpr size_t kMaxOutput = 512u << 10;
constexpr size_t kMaxAnswers = 1u << 20;
constexpr absl::Duration kPairLimit = absl::Seconds(30);
// A client that closes its connection altogether looks as if it had closed one
// half: a program that goes on sending all the same is cut off after this.
constexpr absl::Duration kHalfOpenLimit = absl::Minutes(10);
constexpr absl::Duration kIdleLimit = absl::Hours(4);
constexpr absl::Duration kGoodbyeLimit = absl::Seconds(2);

std::string_view Find(const spdy::Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

class PortForwardSession
    : public PodSocket::Owner,
      public spdy::Session::Streams,
      public std::enable_shared_from_this<PortForwardSession> {
 public:
  PortForwardSession(EventLoop* loop, std::shared_ptr<Tunnel> tunnel,
                     PortForwardTarget target)
      : loop_(loop),
        tunnel_(std::move(tunnel)),
        target_(std::move(target)),
        session_(this) {}

  void Start() {
    tunnel_->Accept([self = shared_from_this()](bool ok) {
      if (!ok) return self->End();
      self->OnActivity();
      self->Read();
    });
  }

 private:
  // Two streams, of which one or both are there.
  struct Pair {
    std::string request;
    uint32_t error = 0, data = 0;
    Port port = 0;
    bool finished = false;   // the client sends no more
    bool ended = false;      // nor does the pod
    bool waiting = false;    // in `waiting_`
    std::shared_ptr<PodSocket> socket;
    Timer limit;
  };
  using Pairs = std::map<uint32_t, std::shared_ptr<Pair>>;

  // The client's bytes.
  void Read() {
    if (reading_ || ended_ || ending_ || input_bytes_ > kMaxInput ||
        output_bytes() > kMaxAnswers) {
      return;
    }
    reading_ = true;
    tunnel_->Read([self = shared_from_this()](bool ok,
                                              std::string_view bytes) {
      self->reading_ = false;
      ok ? self->OnBytes(bytes) : self->End();
    });
  }

  void OnBytes(std::string_view bytes) {
    if (ended_) return;
    OnActivity();
    if (const absl::Status status = session_.Receive(bytes); !status.ok()) {
      spdlog::warn("port forward ended pod={} error=\"{}\"", target_.pod,
                   std::string(status.message()));
      // The client is told, if it listens.
      ending_ = true;
      goodbye_ = loop_->After(kGoodbyeLimit, [weak = weak_from_this()] {
        if (auto self = weak.lock()) self->End();
      });
    }
    Flush();
    Read();
  }

  void OnActivity() {
    idle_ = loop_->After(kIdleLimit, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->End();
    });
  }

  // spdy::Session::Streams.
  absl::Status OnOpen(uint32_t stream, const spdy::Headers& headers) override {
    absl::StatusOr<ForwardStream> parsed = ParseForwardStream(headers);
    if (!parsed.ok()) return parsed.status();
    // Without a number the stream of the errors is the one opened before.
    if (parsed->request.empty())
      parsed->request = StrCat("#", parsed->data ? stream - 2 : stream);
    std::shared_ptr<Pair>& pair = by_request_[parsed->request];
    if (pair == nullptr) {
      pair = std::make_shared<Pair>();
      pair->request = parsed->request;
      pair->limit = After(kPairLimit, pair, &PortForwardSession::OnIncomplete);
    }
    uint32_t& place = parsed->data ? pair->data : pair->error;
    if (place != 0)
      return absl::InvalidArgumentError("a request's third stream");
    place = stream;
    if (parsed->data) pair->port = parsed->port;
    by_stream_[stream] = pair;
    if (pair->data == 0 || pair->error == 0) return absl::OkStatus();
    pair->limit.Cancel();
    pair->socket =
        std::make_shared<PodSocket>(loop_, weak_from_this(), pair->data);
    pair->socket->Connect(target_.netns, pair->port);
    return absl::OkStatus();
  }

  void OnData(uint32_t stream, std::string_view data) override {
    const std::shared_ptr<Pair> pair = PairOf(stream);
    // What is sent on the stream for errors means nothing.
    if (pair == nullptr || stream != pair->data) return;
    // Before its pair is complete: it has no socket that could hold it.
    if (pair->socket == nullptr) return Break(pair);
    const size_t before = pair->socket->unsent();
    pair->socket->Write(data);
    input_bytes_ += pair->socket->unsent() - before;
  }

  void OnFinished(uint32_t stream) override {
    const std::shared_ptr<Pair> pair = PairOf(stream);
    if (pair == nullptr || stream != pair->data) return;
    pair->finished = true;
    if (pair->socket != nullptr) pair->socket->FinishWriting();
    OnHalfClosed(pair);
  }

  void OnReset(uint32_t stream) override {
    const std::shared_ptr<Pair> pair = PairOf(stream);
    if (pair == nullptr) return;
    if (stream == pair->data || pair->socket == nullptr) Break(pair);
  }

  // PodSocket::Owner.
  void OnConnected(uint32_t id, const absl::Status& status) override {
    const std::shared_ptr<Pair> pair = PairOf(id);
    if (pair == nullptr) return;
    if (status.ok()) {
      pair->socket->WaitReadable();
      return;
    }
    // What a kubelet and containerd say. The uid would be in the request's
    // path, where nobody has it.
    Refuse(pair,
           StrCat("error forwarding port ", pair->port, " to pod ",
                  target_.pod,
                  ", uid : failed to execute portforward in network namespace "
                  "\"",
                  target_.netns.empty() ? "host" : target_.netns,
                  "\": failed to connect to localhost:", pair->port,
                  " inside namespace \"", target_.pod, "\", ",
                  Std(status.message())));
    Flush();
    Read();
  }

  void OnReadable(uint32_t id) override {
    const std::shared_ptr<Pair> pair = PairOf(id);
    if (pair == nullptr || pair->waiting || ending_) return;
    if (output_bytes() > kMaxOutput) {
      pair->waiting = true;
      waiting_.push_back(pair);
      return;
    }
    ReadPod(pair);
    Flush();
  }

  void OnTaken(uint32_t id, size_t bytes) override {
    if (ended_) return;
    input_bytes_ -= std::min(bytes, input_bytes_);
    const std::shared_ptr<Pair> pair = PairOf(id);
    if (pair != nullptr) ForgetIfOver(pair);
    Read();
  }

  void ReadPod(const std::shared_ptr<Pair>& pair) {
    size_t n = 0;
    switch (pair->socket->Read(chunk_.data(), chunk_.size(), &n)) {
      case PodSocket::Result::kBytes:
        session_.Send(pair->data, {chunk_.data(), n});
        return pair->socket->WaitReadable();
      case PodSocket::Result::kNothing:
        return pair->socket->WaitReadable();
      case PodSocket::Result::kEnd:
        pair->ended = true;
        // The client waits for the one before it closes the other.
        session_.Finish(pair->error);
        session_.Finish(pair->data);
        return OnHalfClosed(pair);
      case PodSocket::Result::kBroken:
        return Break(pair);
    }
  }

  void OnHalfClosed(const std::shared_ptr<Pair>& pair) {
    pair->limit = After(kHalfOpenLimit, pair, &PortForwardSession::Break);
    ForgetIfOver(pair);
  }

  void ForgetIfOver(const std::shared_ptr<Pair>& pair) {
    if (pair->finished && pair->ended && pair->socket->unsent() == 0)
      Forget(pair);
  }

  void OnIncomplete(const std::shared_ptr<Pair>& pair) {
    Refuse(pair, StrCat("(request=", pair->request,
                        ") timed out waiting for streams"));
  }

  // Ends it with words.
  void Refuse(const std::shared_ptr<Pair>& pair, const std::string& why) {
    session_.Send(pair->error, why);
    session_.Finish(pair->error);
    session_.Finish(pair->data);
    Forget(pair);
  }

  // Ends it in the middle.
  void Break(const std::shared_ptr<Pair>& pair) {
    session_.Finish(pair->error);
    session_.Reset(pair->data, spdy::ResetStatus::kCancel);
    Forget(pair);
  }

  // Nothing of it is wanted any more. Its streams are closed on our side; what
  // the client still sends on them is passed over.
  void Forget(const std::shared_ptr<Pair>& pair) {
    if (pair->socket != nullptr) {
      input_bytes_ -= std::min(pair->socket->unsent(), input_bytes_);
      pair->socket->Close();
    }
    pair->limit.Cancel();
    by_stream_.erase(pair->error);
    by_stream_.erase(pair->data);
    by_request_.erase(pair->request);
  }

  std::shared_ptr<Pair> PairOf(uint32_t stream) const {
    const auto it = by_stream_.find(stream);
    return ended_ || it == by_stream_.end() ? nullptr : it->second;
  }

  Timer After(absl::Duration limit, const std::shared_ptr<Pair>& pair,
              void (PortForwardSession::*then)(const std::shared_ptr<Pair>&)) {
    return loop_->After(limit, [weak = weak_from_this(),
                                of = std::weak_ptr<Pair>(pair), then] {
      auto self = weak.lock();
      auto pair = of.lock();
      if (self == nullptr || pair == nullptr || self->ended_) return;
      ((*self).*then)(pair);
      self->Flush();
      self->Read();
    });
  }

  // Ours to the client.
  size_t output_bytes() const { return session_.queued() + writing_; }

  void Flush() {
    if (ended_ || writing_ > 0) return;
    std::string bytes = session_.Take();
    writing_ = bytes.size();
    if (bytes.empty()) {
      if (ending_) End();
      return;
    }
    tunnel_->Write(std::move(bytes), [self = shared_from_this()](bool ok) {
      self->writing_ = 0;
      if (!ok) return self->End();
      self->OnWritten();
    });
  }

  void OnWritten() {
    while (!waiting_.empty() && !ending_ && output_bytes() <= kMaxOutput) {
      const std::shared_ptr<Pair> pair = std::move(waiting_.front());
      waiting_.pop_front();
      if (PairOf(pair->data) != pair) continue;
      pair->waiting = false;
      ReadPod(pair);
    }
    Flush();
    Read();
  }

  void End() {
    if (std::exchange(ended_, true)) return;
    idle_.Cancel();
    goodbye_.Cancel();
    for (const auto& [stream, pair] : by_stream_) {
      if (pair->socket != nullptr) pair->socket->Close();
    }
    by_stream_.clear();
    by_request_.clear();
    waiting_.clear();
    tunnel_->Close();
  }

  EventLoop* loop_;
  std::shared_ptr<Tunnel> tunnel_;
  PortForwardTarget target_;
  spdy::Session session_;
  Pairs by_stream_;
  std::map<std::string, std::shared_ptr<Pair>> by_request_;
  std::deque<std::shared_ptr<Pair>> waiting_;  // for the client to take more
  size_t input_bytes_ = 0, writing_ = 0;
  bool reading_ = false, ending_ = false, ended_ = false;
  Timer idle_, goodbye_;
  std::array<char, kChunk> chunk_;
};

bool Offers(std::string_view list, std::string_view protocol) {
  for (const auto& word : absl::StrSplit(Absl(list), ',')) {
    if (absl::StripAsciiWhitespace(word) == Absl(protocol)) return true;
  }
  return false;
}

std::string_view Header(const Connection::Message& message,
                        std::string_view name) {
  const auto value = message[boost::beast::string_view(name.data(),
                                                       name.size())];
  return {value.data(), value.size()};
}

// Null: `connection` has been answered.
std::shared_ptr<Tunnel> Upgrade(const ConnectionRef& connection) {
  const Connection::Message& message = connection->message();
  const auto refuse = [&](int status, const std::string& why) {
    connection->Reply(status, "text/plain",
                      StrCat("unable to upgrade: ", why));
    return nullptr;
  };
  if (boost::beast::websocket::is_upgrade(message)) {
    if (!Offers(Header(message, "Sec-WebSocket-Protocol"), kTunnelled))
      return refuse(400, StrCat(kTunnelled, " is not offered"));
    return MakeWebSocketTunnel(connection, kTunnelled);
  }
  if (!absl::EqualsIgnoreCase(Absl(Header(message, "Upgrade")), "SPDY/3.1"))
    return refuse(400, "only WebSocket and SPDY/3.1 are spoken here");
  const std::string_view offered =
      Header(message, "X-Stream-Protocol-Version");
  if (!Offers(offered, kProtocol)) {
    return refuse(403, StrCat("unable to negotiate protocol: client supports [",
                              offered, "], server accepts [", kProtocol, "]"));
  }
  return MakePlainTunnel(connection, "SPDY/3.1", kProtocol);
}

}  // namespace

absl::StatusOr<ForwardStream> ParseForwardStream(const spdy::Headers& headers) {
  ForwardStream stream;
  const std::string_view port = Find(headers, "port");
  uint32_t number = 0;
  if (port.empty())
    return absl::InvalidArgumentError("\"port\" header is required");
  if (!absl::SimpleAtoi(Absl(port), &number) || number < 1 || number > 65535)
    return absl::InvalidArgumentError(StrCat("no port: \"", port, "\""));
  stream.port = static_cast<Port>(number);
  const std::string_view type = Find(headers, "streamtype");
  if (type != "data" && type != "error")
    return absl::InvalidArgumentError(
        StrCat("invalid stream type \"", type, "\""));
  stream.data = type == "data";
  stream.request = Find(headers, "requestid");
  return stream;
}

void StartPortForward(const ConnectionRef& connection,
                      PortForwardTarget target) {
  std::shared_ptr<Tunnel> tunnel = Upgrade(connection);
  if (tunnel == nullptr) return;
  std::make_shared<PortForwardSession>(connection->loop(), std::move(tunnel),
                                       std::move(target))
      ->Start();
}

}  // namespace fairlead::kubelet
