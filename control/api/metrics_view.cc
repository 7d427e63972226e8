// SPDX-License-Identifier: Apache-2.0
#include "control/api/metrics_view.h"

#include <spdlog/spdlog.h>

#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/kubelet_address.h"
#include "control/api/kubelet_fetch.h"
#include "userspace/base/clock.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr absl::Duration kFresh = absl::Seconds(10);
// While a kubelet has just started and knows no rates yet.
constexpr absl::Duration kFreshIncomplete = absl::Seconds(1);
constexpr absl::Duration kLimit = absl::Seconds(2);
constexpr size_t kMaxAsked = 64;
constexpr size_t kMaxBytes = 64u << 20;

void Add(Served* to, const store::Object& of, const Json& metrics) {
  auto object = std::make_shared<store::Object>();
  object->key = of.key;
  object->labels = of.labels;
  object->text = metrics.dump();
  to->cache.Load(std::move(object));
}

}  // namespace

void MetricsView::Serve(const ApiRequestRef& request,
                        const ResponderRef& responder) {
  if (asked_ == 0 && registry_->clock().Monotonic() < fresh_until_)
    return Answer(request, responder);
  waiting_.emplace_back(request, responder);
  if (waiting_.size() == 1) AskKubelets();
}

void MetricsView::AskKubelets() {
  usage_.clear();
  complete_ = true;
  for (const auto& [name, node] :
       registry_->Find("", "v1", "nodes")->cache.objects()) {
    to_ask_.push_back(name);
  }
  // Without nodes there is nobody to wait for.
  ++asked_;
  AskMore();
  --asked_;
  if (asked_ == 0) OnAnswer("", absl::NotFoundError("no nodes"));
}

void MetricsView::AskMore() {
  Served* nodes = registry_->Find("", "v1", "nodes");
  while (!to_ask_.empty() && asked_ < kMaxAsked) {
    const std::string name = std::move(to_ask_.front());
    to_ask_.pop_front();
    const store::ObjectRef node = nodes->cache.Find(name);
    if (node == nullptr) continue;
    ++asked_;
    Fetch(loop_,
          {.address = KubeletAddressOf(ParseObject(*nodes, *node), name),
           .netns = netns_,
           .path = "/stats/summary",
           .limit = kLimit,
           .max_bytes = kMaxBytes},
          tls_ ? tls_() : nullptr,
          [this, name, alive = std::weak_ptr<int>(alive_)](
              absl::StatusOr<std::string> text) {
            if (alive.expired()) return;
            --asked_;
            OnAnswer(name, std::move(text));
          });
  }
}

void MetricsView::OnAnswer(const std::string& node,
                           absl::StatusOr<std::string> text) {
  absl::StatusOr<NodeUsage> usage =
      text.ok() ? ParseSummary(*text) : text.status();
  if (usage.ok()) {
    complete_ = complete_ && usage->node.has_value();
    usage_[node] = *std::move(usage);
  } else if (!node.empty()) {
    spdlog::debug("no metrics node={} error=\"{}\"", node,
                  usage.status().ToString());
  }
  AskMore();
  if (asked_ > 0) return;
  fresh_until_ = registry_->clock().Monotonic() +
                 (complete_ ? kFresh : kFreshIncomplete);
  for (const auto& [request, responder] : std::exchange(waiting_, {}))
    Answer(request, responder);
}

void MetricsView::Answer(const ApiRequestRef& request,
                         const ResponderRef& responder) {
  // Objects of the moment, for the verbs that answer from such.
  const bool pods = request->kind().resource.namespaced;
  Served own(&request->kind(), "", 0, 0);
  own.head = request->served->head;
  pods ? AddPods(&own) : AddNodes(&own);
  auto asked = std::make_shared<ApiRequest>(*request);
  asked->served = &own;
  if (request->name.empty()) return verbs_->List(asked, responder);
  const std::string key = ObjectKey(*own.kind, request->ns, request->name);
  if (own.cache.Find(key) != nullptr) return verbs_->Get(asked, responder);
  SendError(*request, *responder,
            NotFound(kMetricsGroup, pods ? "podmetrics" : "nodemetrics", key));
}

void MetricsView::AddNodes(Served* to) const {
  Served* nodes = registry_->Find("", "v1", "nodes");
  for (const auto& [name, usage] : usage_) {
    const store::ObjectRef node = nodes->cache.Find(name);
    if (node == nullptr || !usage.node) continue;
    Add(to, *node, NodeMetricsOf(ParseObject(*nodes, *node), *usage.node));
  }
}

void MetricsView::AddPods(Served* to) const {
  Served* pods = registry_->Find("", "v1", "pods");
  for (const auto& [node, usage] : usage_) {
    for (const PodUsage& one : usage.pods) {
      const store::ObjectRef object =
          pods->cache.Find(ObjectKey(*pods->kind, one.ns, one.name));
      if (object == nullptr) continue;
      const Json pod = ParseObject(*pods, *object);
      if (Text(pod, {"metadata", "uid"}) != one.uid ||
          Text(pod, {"spec", "nodeName"}) != node) {
        continue;
      }
      Add(to, *object, PodMetricsOf(pod, one));
    }
  }
}

}  // namespace fairlead::api
