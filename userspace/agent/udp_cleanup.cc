// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/udp_cleanup.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "userspace/base/clock.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/netlink/udp_sockets.h"

namespace fairlead::agent {
namespace {

// A program that has read the old tables has written its flow by then; and a
// storm of changes becomes one run.
constexpr absl::Duration kDelay = absl::Milliseconds(10);

bool HasUdp(const kube::Service* service) {
  return service != nullptr &&
         std::any_of(service->ports.begin(), service->ports.end(),
                     [](const kube::ServicePort& port) {
                       return port.protocol == Protocol::kUdp;
                     });
}

// Destroys the connected sockets of the thread's network namespace that `fn`
// names, and counts them.
template <typename Fn>
absl::Status Destroy(const Fn& fn, uint64_t* destroyed) {
  FL_ASSIGN_OR_RETURN(netlink::UdpSockets diag, netlink::UdpSockets::Open());
  FL_ASSIGN_OR_RETURN(std::vector<netlink::UdpSocket> connected,
                      diag.Connected());
  for (const netlink::UdpSocket& socket : connected) {
    if (!fn(socket)) continue;
    absl::Status status = diag.Destroy(socket);
    if (absl::IsNotFound(status)) continue;
    FL_RETURN_IF_ERROR(status);
    ++*destroyed;
  }
  return absl::OkStatus();
}

// In all namespaces that can be found. One that has gone meanwhile is no
// error; one that can't be entered keeps nobody from the others.
absl::Status DestroyStale(
    const absl::flat_hash_map<uint64_t, L4Address>& stale,
    uint64_t* destroyed) {
  absl::Status first;
  for (const std::string& path : AllNetns()) {
    absl::Status status = RunInNetns(path, [&] {
      return Destroy(
          [&](const netlink::UdpSocket& socket) {
            auto it = stale.find(socket.cookie);
            return it != stale.end() && it->second == socket.peer;
          },
          destroyed);
    });
    if (!absl::IsNotFound(status)) first.Update(WithContext(status, path));
  }
  return first;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UdpCleanup>> UdpCleanup::Open(
    EventLoop* loop, const datapath::PinLayout& layout,
    std::function<std::vector<IpAddress>()> masquerade) {
  std::unique_ptr<UdpCleanup> cleanup(new UdpCleanup(loop));
  FL_ASSIGN_OR_RETURN(cleanup->state_, datapath::UdpState::Open(layout));
  cleanup->masquerade_ = std::move(masquerade);
  return cleanup;
}

UdpCleanup::~UdpCleanup() {
  if (thread_.joinable()) thread_.join();
}

void UdpCleanup::Applied(const std::vector<std::string>& services,
                         const model::Cluster& cluster) {
  for (const std::string& key : services) {
    if (!HasUdp(cluster.FindService(key)) && !serving_.Knows(key)) continue;
    const model::DesiredService desired = cluster.Desired(key);
    UdpServing::Change change = serving_.Update(key, desired);
    TellJob(desired);
    wanted_ |= change.lost;
    // At the first time they are only new to this process.
    if (first_ || change.new_frontends.empty()) continue;
    wanted_ = true;
    for (const L4Address& frontend : change.new_frontends) {
      AddNewFrontend(frontend, cluster.node());
    }
  }
  wanted_ |= std::exchange(first_, false);
  Schedule();
}

void UdpCleanup::AddNewFrontend(const L4Address& frontend,
                                const model::NodeConfig& node) {
  if (frontend.address != IpAddress::Unspecified(frontend.address.family())) {
    new_frontends_.insert(frontend);
    return;
  }
  // A NodePort. The same port of another host is none of ours.
  for (const model::NodeAddress& own : node.addresses) {
    if (!own.node_port || own.address.family() != frontend.address.family()) {
      continue;
    }
    new_frontends_.insert({own.address, frontend.port, frontend.protocol});
  }
}

void UdpCleanup::TellJob(const model::DesiredService& desired) {
  if (job_ == nullptr) return;
  std::lock_guard lock(job_->mutex);
  for (const model::DesiredPort& port : desired.ports) {
    for (const model::Frontend& frontend : port.frontends) {
      auto it = serving_.table().find(frontend.address);
      if (it != serving_.table().end()) job_->newer[it->first] = it->second;
    }
  }
}

bool UdpCleanup::Job::Serves(const L4Address& frontend,
                             const L4Address& endpoint) {
  if (UdpServing::Serves(table, frontend, endpoint)) return true;
  std::lock_guard lock(mutex);
  return UdpServing::Serves(newer, frontend, endpoint);
}

void UdpCleanup::Schedule() {
  if (!wanted_ || job_ != nullptr || delay_.pending()) return;
  delay_ = loop_->After(kDelay, [this] { Run(); });
}

void UdpCleanup::Run() {
  wanted_ = false;
  if (thread_.joinable()) thread_.join();
  auto job = std::make_shared<Job>();
  job->table = serving_.table();
  job->new_frontends = std::exchange(new_frontends_, {});
  job->masquerade = masquerade_();
  job_ = job;
  thread_ = std::thread([this, job, loop = loop_, state = state_.get(),
                         alive = std::weak_ptr<bool>(alive_)] {
    absl::Duration start = Clock::Real().Monotonic();
    job->status = Work(state, job.get());
    job->duration = Clock::Real().Monotonic() - start;
    loop->Post([this, job, alive] {
      if (alive.lock() != nullptr) Finished(*job);
    });
  });
}

absl::Status UdpCleanup::Work(datapath::UdpState* state, Job* job) {
  auto serves = [job](const L4Address& frontend, const L4Address& endpoint) {
    return job->Serves(frontend, endpoint);
  };
  FL_ASSIGN_OR_RETURN(auto flows, state->RemoveFlows(serves, job->masquerade));
  job->flows = flows.removed;
  FL_ASSIGN_OR_RETURN(auto found, state->FindConnected(serves));
  FL_ASSIGN_OR_RETURN(auto endpoints, state->RemoveEndpoints(serves));
  job->endpoints = endpoints.removed;
  absl::Status status;
  if (!found.empty()) {
    absl::flat_hash_map<uint64_t, L4Address> stale;
    for (const auto& socket : found) stale[socket.cookie] = socket.backend;
    status = DestroyStale(stale, &job->sockets);
  }
  if (job->new_frontends.empty()) return status;
  // What this host's sockets have sent to the address until now went past us,
  // and would do so for ever. (What pods send passes the packet path.)
  status.Update(Destroy(
      [job](const netlink::UdpSocket& socket) {
        return job->new_frontends.contains(socket.peer);
      },
      &job->sockets));
  return status;
}

void UdpCleanup::Finished(const Job& job) {
  job_ = nullptr;
  ++stats_.runs;
  stats_.flows += job.flows;
  stats_.endpoints += job.endpoints;
  stats_.sockets += job.sockets;
  stats_.duration.Observe(job.duration);
  if (!job.status.ok()) {
    ++stats_.errors;
    spdlog::error("msg=\"cannot clean up UDP\" error=\"{}\"",
                  job.status.ToString());
  }
  if (job.flows + job.endpoints + job.sockets > 0) {
    spdlog::info("msg=\"UDP cleaned up\" flows={} endpoints={} sockets={} "
                 "ms={:.2f}",
                 job.flows, job.endpoints, job.sockets,
                 absl::ToDoubleMilliseconds(job.duration));
  }
  Schedule();
}

}  // namespace fairlead::agent
