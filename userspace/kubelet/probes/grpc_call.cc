// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/probes/grpc_call.h"

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <thread>

#include "absl/time/clock.h"
#include "proto/health.grpc.pb.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/probes/network_call.h"

namespace fairlead::kubelet {
namespace {

namespace health = ::grpc::health::v1;

// As Go's gRPC prints them.
const char* CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK",           "Canceled",          "Unknown",
      "InvalidArgument", "DeadlineExceeded", "NotFound",
      "AlreadyExists", "PermissionDenied",  "ResourceExhausted",
      "FailedPrecondition", "Aborted",      "OutOfRange",
      "Unimplemented", "Internal",          "Unavailable",
      "DataLoss",     "Unauthenticated"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "Unknown";
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& peer, bool v6) {
  grpc::ChannelArguments args;
  args.SetUserAgentPrefix(kProbeUserAgent);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A connection of its own: one that another try opened proves nothing.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // The server may begin to listen while the probe's time runs.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  return grpc::CreateCustomChannel(StrCat(v6 ? "ipv6:" : "ipv4:", peer),
                                   grpc::InsecureChannelCredentials(), args);
}

class GrpcCall : public ActionCall {
 public:
  GrpcCall(EventLoop* loop, const Action& action, const std::string& host,
           absl::Duration timeout, ActionDone done)
      : state_(std::make_shared<State>()) {
    State& s = *state_;
    s.loop = loop;
    s.timeout = timeout;
    s.peer = HostPort(host, action.port);
    s.done = std::move(done);
    s.channel = OpenChannel(s.peer, host.find(':') != std::string::npos);
    s.stub = health::Health::NewStub(s.channel);
    s.request.set_service(action.service);
    s.context.set_wait_for_ready(true);
    s.context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    // A thread a probe under way, and not a callback on gRPC's: who gives a probe
    // up would leave the channel to be destroyed by its own callback, which
    // gRPC 1.51 answers with an abort at times.
    std::thread([state = state_] {
      const grpc::Status status =
          state->stub->Check(&state->context, state->request, &state->response);
      state->OnAnswer(state, status);
    }).detach();
  }
  ~GrpcCall() override {
    {
      const std::lock_guard lock(state_->mutex);
      state_->loop = nullptr;
    }
    state_->done = nullptr;
    state_->context.TryCancel();
  }

 private:
  // Shared with the call's thread until that has ended.
  struct State {
    // On the call's thread.
    void OnAnswer(const std::shared_ptr<State>& self,
                  const grpc::Status& status) {
      const bool connected =
          channel->GetState(false) == GRPC_CHANNEL_READY;
      const std::lock_guard lock(mutex);
      if (loop == nullptr) return;
      loop->Post([self, result = ResultOf(status, connected)] {
        const ActionDone fn = std::move(self->done);
        if (fn) fn(result);
      });
    }

    // In the kubelet's words.
    ActionResult ResultOf(const grpc::Status& status, bool connected) const {
      const std::string limit = absl::FormatDuration(timeout);
      if (status.ok()) {
        if (response.status() == health::HealthCheckResponse::SERVING)
          return {true, ""};
        return {false, StrCat("service unhealthy (responded with \"",
                              health::HealthCheckResponse::ServingStatus_Name(
                                  response.status()),
                              "\")")};
      }
      if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
        return {false,
                connected
                    ? StrCat("timeout: health rpc did not complete within ",
                             limit)
                    : StrCat("timeout: failed to connect service \"", peer,
                             "\" within ", limit,
                             ": context deadline exceeded")};
      }
      if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
        return {false, StrCat("error: this server does not implement the grpc "
                              "health protocol (grpc.health.v1.Health): ",
                              status.error_message())};
      }
      return {false, StrCat("error: health rpc probe failed: rpc error: code "
                            "= ", CodeName(status.error_code()),
                            " desc = ", status.error_message())};
    }

    std::mutex mutex;
    EventLoop* loop = nullptr;  // guarded by mutex; null: nobody waits
    ActionDone done;            // the loop's thread only
    absl::Duration timeout;
    std::string peer;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<health::Health::Stub> stub;
    grpc::ClientContext context;
    health::HealthCheckRequest request;
    health::HealthCheckResponse response;
  };

  std::shared_ptr<State> state_;
};

}  // namespace

std::unique_ptr<ActionCall> RunGrpcCheck(EventLoop* loop, const Action& action,
                                         const std::string& host,
                                         absl::Duration timeout,
                                         ActionDone done) {
  return std::make_unique<GrpcCall>(loop, action, host, timeout,
                                    std::move(done));
}

}  // namespace fairlead::kubelet
