// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/admin_service.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>

#include "proto/admin.grpc.pb.h"
#include "userspace/agent/admin_listener.h"
#include "userspace/agent/explainer.h"
#include "userspace/agent/views.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::agent {
namespace {

namespace v1 = admin::v1;

constexpr auto kLoopWait = std::chrono::seconds(10);

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // gRPC's codes are Abseil's, by number.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message()));
}

uint32_t MonotonicSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint32_t>(now.tv_sec);
}

class AgentService final : public v1::Agent::Service {
 public:
  AgentService(EventLoop* loop, const Agent* agent)
      : loop_(loop), agent_(agent), explainer_(loop) {}

  // Calls that wait for the loop end now: it doesn't run any more.
  void Stop() { stopping_ = true; }

  grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest*,
                      v1::StatusReply* reply) override {
    absl::Status status = OnLoop<v1::StatusReply>(
        reply, [](const Agent& agent, v1::StatusReply* out) {
          FillStatus(agent, out);
        });
    auto fill = agent_->inspector().Fill();
    if (fill.ok()) {
      for (const datapath::MapFill& map : *fill) {
        v1::MapFill* out = reply->add_maps();
        out->set_name(map.name);
        out->set_entries(map.entries);
        out->set_max_entries(map.max_entries);
      }
    }
    return ToGrpc(status);
  }

  grpc::Status ListServices(grpc::ServerContext*,
                            const v1::ListServicesRequest* request,
                            v1::ListServicesReply* reply) override {
    return ToGrpc(OnLoop<v1::ListServicesReply>(
        reply, [request = *request](const Agent& agent,
                                    v1::ListServicesReply* out) {
          FillServices(agent, request, out);
        }));
  }

  grpc::Status ListBackends(grpc::ServerContext*,
                            const v1::ListBackendsRequest* request,
                            v1::ListBackendsReply* reply) override {
    return ToGrpc(OnLoop<v1::ListBackendsReply>(
        reply, [request = *request](const Agent& agent,
                                    v1::ListBackendsReply* out) {
          FillBackends(agent, request, out);
        }));
  }

  grpc::Status ListFlows(grpc::ServerContext* context,
                         const v1::ListFlowsRequest* request,
                         grpc::ServerWriter<v1::Flow>* writer) override {
    ServiceNames names;
    absl::Status status = OnLoop<ServiceNames>(
        &names, [](const Agent& agent, ServiceNames* out) {
          *out = NamesOfServices(agent);
        });
    if (!status.ok()) return ToGrpc(status);
    datapath::FlowFilter filter;
    if (!request->client().empty()) {
      auto client = IpAddress::Parse(request->client());
      if (!client.ok()) return ToGrpc(WithContext(client.status(), "client"));
      filter.address = *client;
    }
    uint32_t sent = 0, now = MonotonicSeconds();
    return ToGrpc(agent_->inspector().ForEachFlow(
        filter, [&](const fl_flow_key& key, const fl_flow& flow) {
          if (context->IsCancelled() || stopping_) return false;
          v1::Flow message = ToMessage(key, flow, names, now);
          if (!Matches(*request, key, flow, message)) return true;
          if (request->limit() > 0 && sent >= request->limit()) return false;
          ++sent;
          return writer->Write(message);
        }));
  }

  grpc::Status DumpMap(grpc::ServerContext* context,
                       const v1::DumpMapRequest* request,
                       grpc::ServerWriter<v1::MapEntry>* writer) override {
    std::vector<std::string> maps = {request->map()};
    if (request->map().empty()) {
      maps.clear();
      for (std::string_view name : datapath::Inspector::MapNames()) {
        maps.emplace_back(name);
      }
    }
    for (const std::string& map : maps) {
      absl::Status status = agent_->inspector().Dump(
          map, [&](const datapath::DumpRow& row) {
            if (context->IsCancelled() || stopping_) return false;
            v1::MapEntry entry;
            entry.set_map(std::string(row.map));
            entry.set_line(row.ToLine());
            entry.set_json(row.ToJson());
            return writer->Write(entry);
          });
      if (!status.ok()) return ToGrpc(status);
    }
    return grpc::Status::OK;
  }

  grpc::Status Counters(grpc::ServerContext*,
                        const v1::CountersRequest* request,
                        v1::CountersReply* reply) override {
    auto rows = agent_->inspector().Counters();
    if (!rows.ok()) return ToGrpc(rows.status());
    for (const datapath::CounterRow& row : *rows) {
      if (row.packets == 0 && !request->include_zero()) continue;
      v1::Counter* out = reply->add_counters();
      out->set_name(row.name);
      out->set_text(std::string(row.text));
      out->set_packets(row.packets);
      out->set_bytes(row.bytes);
    }
    return grpc::Status::OK;
  }

  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::ExplainReply* reply) override {
    ExplainSetup setup;
    absl::Status status = OnLoop<ExplainSetup>(
        &setup, [](const Agent& agent, ExplainSetup* out) {
          *out = {agent.layout(), agent.program_config()};
        });
    if (status.ok()) status = explainer_.Prepare(setup);
    if (!status.ok()) return ToGrpc(status);
    struct Answer {
      absl::Status status;
      v1::ExplainReply reply;
    };
    Answer answer;
    status = OnLoop<Answer>(
        &answer, [this, request = *request](const Agent& agent, Answer* out) {
          out->status = explainer_.Explain(agent, request, MonotonicSeconds(),
                                           &out->reply);
        });
    *reply = std::move(answer.reply);
    return ToGrpc(status.ok() ? answer.status : status);
  }

 private:
  // Runs `fill` on the loop and waits for it.
  template <typename T>
  absl::Status OnLoop(T* result,
                      std::function<void(const Agent&, T*)> fill) {
    // Shared with the loop, which may come to it after we gave up.
    struct Shared {
      std::mutex mutex;
      std::condition_variable done_now;
      bool done = false;
      T value;
    };
    auto shared = std::make_shared<Shared>();
    loop_->Post([shared, fill = std::move(fill), agent = agent_] {
      T value;
      fill(*agent, &value);
      std::lock_guard<std::mutex> lock(shared->mutex);
      shared->value = std::move(value);
      shared->done = true;
      shared->done_now.notify_one();
    });
    auto give_up = std::chrono::steady_clock::now() + kLoopWait;
    std::unique_lock<std::mutex> lock(shared->mutex);
    while (!shared->done) {
      if (stopping_) return absl::UnavailableError("the agent is stopping");
      if (std::chrono::steady_clock::now() > give_up) {
        return absl::DeadlineExceededError("the agent is busy");
      }
      shared->done_now.wait_for(lock, std::chrono::milliseconds(100));
    }
    *result = std::move(shared->value);
    return absl::OkStatus();
  }

  static bool Matches(const v1::ListFlowsRequest& request,
                      const fl_flow_key& key, const fl_flow& flow,
                      const v1::Flow& message) {
    if (!request.service().empty()) {
      const std::string& name = message.service();
      if (name != request.service() &&
          !MatchesService(name.substr(0, name.find(':')), request.service())) {
        return false;
      }
    }
    if (request.backend().empty()) return true;
    // A reply comes from the backend; any other flow is translated to it.
    bool reply = message.reply();
    std::string address =
        reconcile::FromAbi(reply ? key.src : flow.addr).ToString();
    if (address == request.backend()) return true;
    return (reply ? message.source() : message.translation().substr(4)) ==
           request.backend();
  }

  EventLoop* loop_;
  const Agent* agent_;
  Explainer explainer_;
  std::atomic<bool> stopping_{false};
};

}  // namespace

class AdminServer::Impl {
 public:
  Impl(EventLoop* loop, const Agent* agent) : service_(loop, agent) {}

  ~Impl() {
    listener_.reset();
    service_.Stop();
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() +
                      std::chrono::milliseconds(500));
  }

  absl::Status Start(const std::string& path, EventLoop* loop) {
    // People come one at a time, and threads cost memory.
    grpc::ResourceQuota quota("fairlead-agent");
    quota.SetMaxThreads(4);
    grpc::ServerBuilder builder;
    builder.SetResourceQuota(quota);
    builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
    // Its poller wakes for nothing but this: once an hour is enough.
    builder.SetSyncServerOption(grpc::ServerBuilder::CQ_TIMEOUT_MSEC, 3600000);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::UnavailableError("cannot start the admin service");
    }
    FL_ASSIGN_OR_RETURN(
        listener_, AdminListener::Open(path, loop, [this](UniqueFd peer) {
          grpc::AddInsecureChannelFromFd(server_.get(), peer.release());
        }));
    return absl::OkStatus();
  }

 private:
  AgentService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<AdminListener> listener_;
};

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminServer::~AdminServer() = default;

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(
    const std::string& socket_path, EventLoop* loop, const Agent* agent) {
  auto impl = std::make_unique<Impl>(loop, agent);
  FL_RETURN_IF_ERROR(impl->Start(socket_path, loop));
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(impl)));
}

}  // namespace fairlead::agent
