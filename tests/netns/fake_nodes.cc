// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/fake_nodes.h"

#include <algorithm>
#include <future>
#include <list>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/http_transport.h"
#include "userspace/kube/informer.h"
#include "userspace/kube/kubeconfig.h"

namespace fairlead {
namespace {

using kube::Object;

constexpr absl::Duration kLeasePeriod = absl::Milliseconds(400);
constexpr absl::Duration kAnswerTimeout = absl::Seconds(20);

std::string Stamp(absl::Time t, bool micro) {
  return absl::FormatTime(
      micro ? "%Y-%m-%dT%H:%M:%E6SZ" : "%Y-%m-%dT%H:%M:%SZ", t,
      absl::UTCTimeZone());
}

bool IsReady(const Json& pod) {
  for (const Json& c : pod["status"].value("conditions", Json::array())) {
    if (c["type"] == "Ready") return c["status"] == "True";
  }
  return false;
}

bool IsGoing(const Json& pod) {
  return pod["metadata"].contains("deletionTimestamp");
}

bool IsAlive(const Json& pod) {
  std::string phase = pod["status"].value("phase", "");
  return !IsGoing(pod) && phase != "Failed" && phase != "Succeeded";
}

Json ConditionOf(const char* type, const std::string& stamp) {
  return {{"type", type},
          {"status", "True"},
          {"reason", "Fake"},
          {"message", ""},
          {"lastTransitionTime", stamp}};
}

}  // namespace

// Pods as a watch tells of them, counted after every event and every list.
class Recorder : public kube::ReflectorSink {
 public:
  Recorder(EventLoop* loop, kube::Transport* transport, std::string app)
      : app_(std::move(app)) {
    kube::ReflectorOptions options;
    options.resource = kube::Pods();
    options.min_backoff = absl::Milliseconds(50);
    options.max_backoff = absl::Milliseconds(200);
    reflector_ = std::make_unique<kube::Reflector>(loop, transport, options,
                                                   this);
    reflector_->Start();
  }

  void ReplaceBegin() override { listed_.clear(); }
  void OnListed(const kube::EncodedObject& pod) override {
    Put(pod.bytes, listed_);
  }
  void ReplaceEnd(std::string_view) override {
    pods_ = std::move(listed_);
    Count();
  }
  void ReplaceAbort() override {}
  void OnEvent(kube::WatchEvent event,
               const kube::EncodedObject& pod) override {
    Put(pod.bytes, pods_);
    if (event == kube::WatchEvent::kDeleted) {
      pods_.erase(kube::KeyOf(Json::parse(pod.bytes)));
    }
    Count();
  }
  void OnState(const absl::Status&) override {}

  std::optional<FakeCluster::Extremes> extremes() const { return extremes_; }

 private:
  struct Pod {
    bool alive, ready;
  };
  using Pods = std::map<std::string, Pod>;

  void Put(std::string_view text, Pods& pods) {
    Json pod = Json::parse(text);
    const Json& labels = pod["metadata"].value("labels", Json::object());
    if (labels.value("app", "") != app_) return;
    pods[kube::KeyOf(pod)] = {IsAlive(pod), IsReady(pod)};
  }

  void Count() {
    int ready = 0, alive = 0;
    for (const auto& [key, pod] : pods_) {
      alive += pod.alive;
      ready += pod.alive && pod.ready;
    }
    if (!extremes_) extremes_ = FakeCluster::Extremes{ready, alive};
    extremes_->min_ready = std::min(extremes_->min_ready, ready);
    extremes_->max_alive = std::max(extremes_->max_alive, alive);
  }

  std::string app_;
  Pods pods_, listed_;
  std::optional<FakeCluster::Extremes> extremes_;
  std::unique_ptr<kube::Reflector> reflector_;
};

class FakeCluster::Impl {
 public:
  explicit Impl(const std::string& url) {
    kube::ApiServer server{.url = url};
    transport_ = *kube::MakeHttpTransport(&loop_, server);
    client_ = std::make_unique<kube::Client>(transport_.get(), "fake-kubelet");
    kube::ReflectorOptions options;
    options.resource = kube::Pods();
    options.min_backoff = absl::Milliseconds(50);
    options.max_backoff = absl::Milliseconds(200);
    pods_ = std::make_unique<kube::Informer>(&loop_, transport_.get(), options);
    pods_->Subscribe([this](const Object& before, const Object& after) {
      PodChanged(before, after);
    });
    loop_.Post([this] {
      pods_->Start();
      Beat();
    });
    thread_ = std::thread([this] { loop_.Run(); });
  }

  ~Impl() {
    loop_.Stop();
    thread_.join();
    // What lives on the loop dies on this thread, now that it stands still.
    calls_.clear();
    recorder_.reset();
    pods_.reset();
  }

  using StartCall =
      std::function<std::unique_ptr<kube::Call>(kube::Client::Done)>;

  absl::StatusOr<Json> Wait(StartCall start) {
    auto promise =
        std::make_shared<std::promise<absl::StatusOr<Json>>>();
    auto future = promise->get_future();
    loop_.Post([this, start, promise] {
      Start(start, [promise](absl::StatusOr<Json> answer) {
        promise->set_value(std::move(answer));
      });
    });
    if (future.wait_for(absl::ToChronoMilliseconds(kAnswerTimeout)) !=
        std::future_status::ready) {
      return absl::DeadlineExceededError("no answer");
    }
    return future.get();
  }

  void OnLoop(std::function<void()> fn) {
    std::promise<void> done;
    loop_.Post([&] {
      fn();
      done.set_value();
    });
    done.get_future().wait();
  }

  kube::Client& client() { return *client_; }

  // --- nodes

  void AddNode(const std::string& name) {
    OnLoop([&] { nodes_[name] = true; });
    Json node = {{"apiVersion", "v1"},
                 {"kind", "Node"},
                 {"metadata",
                  {{"name", name},
                   {"labels",
                    {{"kubernetes.io/hostname", name},
                     {"topology.kubernetes.io/zone", "zone-" + name}}}}},
                 {"status", NodeStatus()}};
    (void)Wait([&](auto done) {
      return client_->Create(kube::Nodes(), node, std::move(done));
    });
    OnLoop([&] { PostNode(name); });
  }

  void SetAlive(const std::string& name, bool alive) {
    OnLoop([&] {
      nodes_[name] = alive;
      if (!alive) return;
      PostNode(name);
      pods_->ForEach([this](const Object& pod) { PodChanged(nullptr, pod); });
    });
  }

  // --- recording

  // Returns when the first list has been counted.
  void StartRecording(const std::string& app) {
    OnLoop([&] {
      recorder_ = std::make_unique<Recorder>(&loop_, transport_.get(), app);
    });
    bool counted = false;
    while (!counted) {
      OnLoop([&] { counted = recorder_->extremes().has_value(); });
    }
  }

  Extremes StopRecording() {
    Extremes result;
    OnLoop([&] {
      result = recorder_->extremes().value_or(Extremes{});
      recorder_.reset();
    });
    return result;
  }

 private:
  static Json NodeStatus() {
    std::string now = Stamp(absl::Now(), false);
    Json ready = ConditionOf("Ready", now);
    ready["lastHeartbeatTime"] = now;
    Json amounts = {{"cpu", "4"}, {"memory", "8Gi"}, {"pods", "110"}};
    return {{"allocatable", amounts},
            {"capacity", amounts},
            {"conditions", Json::array({ready})}};
  }

  void PostNode(const std::string& name) {
    Json patch = {{"status", NodeStatus()}};
    Start(
        [&](auto done) {
          return client_->Patch(kube::Nodes(), "", name, "status",
                                kube::PatchType::kStrategicMerge, patch,
                                std::move(done));
        },
        [](auto) {});
  }

  void Beat() {
    for (const auto& [name, alive] : nodes_) {
      if (alive) Renew(name);
    }
    // Reports that got lost with a killed controller are sent again.
    pods_->ForEach([this](const Object& pod) { PodChanged(nullptr, pod); });
    beat_ = loop_.After(kLeasePeriod, [this] { Beat(); });
  }

  void Renew(const std::string& name) {
    Json lease = {{"apiVersion", "coordination.k8s.io/v1"},
                  {"kind", "Lease"},
                  {"metadata",
                   {{"namespace", "kube-node-lease"}, {"name", name}}},
                  {"spec",
                   {{"holderIdentity", name},
                    {"leaseDurationSeconds", 40},
                    {"renewTime", Stamp(absl::Now(), true)}}}};
    // A PUT makes a lease that isn't there.
    Start(
        [&](auto done) {
          return client_->Update(kube::Leases(), lease, std::move(done));
        },
        [](auto) {});
  }

  void PodChanged(const Object&, const Object& after) {
    if (after == nullptr) return;
    const Json& pod = *after;
    std::string node = pod["spec"].value("nodeName", "");
    auto it = nodes_.find(node);
    if (it == nodes_.end() || !it->second) return;
    std::string key = kube::KeyOf(pod);
    bool report = !IsGoing(pod) && !IsReady(pod) &&
                  pod["spec"]["containers"][0]["image"] != "bad";
    if (!report && !IsGoing(pod)) return;
    if (!busy_.insert(key).second) return;
    auto delay = absl::Milliseconds(5 + random_() % 40);
    delays_[key] = loop_.After(delay, [this, key] {
      std::string owned = key;
      delays_.erase(owned);
      Act(owned);
    });
  }

  void Act(const std::string& key) {
    busy_.erase(key);
    Object pod = pods_->Get(key);
    if (pod == nullptr) return;
    auto it = nodes_.find((*pod)["spec"].value("nodeName", ""));
    if (it == nodes_.end() || !it->second) return;
    std::string ns = (*pod)["metadata"]["namespace"];
    std::string name = (*pod)["metadata"]["name"];
    if (IsGoing(*pod)) {
      kube::DeleteOptions options;
      options.grace_period_seconds = 0;
      options.precondition_uid = (*pod)["metadata"]["uid"];
      return Start(
          [&](auto done) {
            return client_->Delete(kube::Pods(), ns, name, options,
                                   std::move(done));
          },
          [](auto) {});
    }
    if (IsReady(*pod)) return;
    std::string now = Stamp(absl::Now(), false);
    auto [address, added] = addresses_.try_emplace(
        (*pod)["metadata"]["uid"], static_cast<int>(addresses_.size()));
    std::string ip = absl::StrCat("10.244.", address->second / 250, ".",
                                  address->second % 250 + 2);
    Json patch = {
        {"status",
         {{"phase", "Running"},
          {"podIP", ip},
          {"podIPs", Json::array({{{"ip", ip}}})},
          {"startTime", now},
          {"conditions", Json::array({ConditionOf("Initialized", now),
                                      ConditionOf("ContainersReady", now),
                                      ConditionOf("Ready", now)})}}}};
    Start(
        [&](auto done) {
          return client_->Patch(kube::Pods(), ns, name, "status",
                                kube::PatchType::kStrategicMerge, patch,
                                std::move(done));
        },
        [](auto) {});
  }

  void Start(const StartCall& start, kube::Client::Done done) {
    auto call = calls_.insert(calls_.end(), nullptr);
    *call = start([this, call, done](absl::StatusOr<Json> answer) {
      std::shared_ptr<kube::Call> dying = std::move(*call);
      calls_.erase(call);
      loop_.Post([dying] {});
      auto run_done = done;
      run_done(std::move(answer));
    });
  }

  EventLoop loop_;
  std::unique_ptr<kube::Transport> transport_;
  std::unique_ptr<kube::Client> client_;
  std::unique_ptr<kube::Informer> pods_;
  std::list<std::unique_ptr<kube::Call>> calls_;
  std::map<std::string, bool> nodes_;
  std::set<std::string> busy_;
  std::map<std::string, Timer> delays_;
  std::map<std::string, int> addresses_;  // by pod uid
  std::mt19937 random_{20};
  Timer beat_;
  std::unique_ptr<Recorder> recorder_;
  std::thread thread_;
};

FakeCluster::FakeCluster(const std::string& url)
    : impl_(std::make_unique<Impl>(url)) {}
FakeCluster::~FakeCluster() = default;

absl::StatusOr<Json> FakeCluster::Create(const kube::Resource& r,
                                         const Json& object) {
  return impl_->Wait([&](auto done) {
    return impl_->client().Create(r, object, std::move(done));
  });
}

absl::StatusOr<Json> FakeCluster::Get(const kube::Resource& r,
                                      const std::string& name,
                                      const std::string& ns) {
  return impl_->Wait([&](auto done) {
    return impl_->client().Get(r, r.namespaced ? ns : "", name,
                               std::move(done));
  });
}

absl::StatusOr<Json> FakeCluster::Patch(const kube::Resource& r,
                                        const std::string& name,
                                        const Json& patch,
                                        const std::string& ns) {
  return impl_->Wait([&](auto done) {
    return impl_->client().Patch(r, r.namespaced ? ns : "", name, "",
                                 kube::PatchType::kMerge, patch,
                                 std::move(done));
  });
}

absl::Status FakeCluster::Delete(const kube::Resource& r,
                                 const std::string& name,
                                 const std::string& propagation,
                                 const std::string& ns) {
  kube::DeleteOptions options;
  options.propagation_policy = propagation;
  return impl_
      ->Wait([&](auto done) {
        return impl_->client().Delete(r, r.namespaced ? ns : "", name, options,
                                      std::move(done));
      })
      .status();
}

std::vector<Json> FakeCluster::List(const kube::Resource& r,
                                    const std::string& ns,
                                    const std::string& query) {
  auto list = impl_->Wait([&](auto done) {
    return impl_->client().List(r, r.namespaced ? ns : "", query,
                                std::move(done));
  });
  std::vector<Json> items;
  if (!list.ok()) return items;
  for (const Json& item : (*list)["items"]) items.push_back(item);
  return items;
}

void FakeCluster::AddNode(const std::string& name) { impl_->AddNode(name); }
void FakeCluster::Silence(const std::string& name) {
  impl_->SetAlive(name, false);
}
void FakeCluster::Revive(const std::string& name) {
  impl_->SetAlive(name, true);
}
void FakeCluster::StartRecording(const std::string& app) {
  impl_->StartRecording(app);
}
FakeCluster::Extremes FakeCluster::StopRecording() {
  return impl_->StopRecording();
}

}  // namespace fairlead
