// SPDX-License-Identifier: Apache-2.0
// NodeMetrics and PodMetrics (metrics.k8s.io/v1beta1), which kubectl top shows.
//
// They are what the kubelets say when somebody asks: all of them are asked at
// once, and their answers serve whoever asks within the next ten seconds, in
// which a kubelet would say the same again. A node that doesn't answer has no
// metrics, nor has what has just started. A kubelet is believed about the pods
// that are bound to its node, and no others.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_METRICS_VIEW_H_
#define FAIRLEAD_CONTROL_API_METRICS_VIEW_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/api/http.h"
#include "control/api/kubelet_proxy.h"
#include "control/api/registry.h"
#include "control/api/usage_metrics.h"
#include "control/api/verbs.h"
#include "userspace/base/event_loop.h"

namespace fairlead::api {

class MetricsView {
 public:
  // All outlive it. `netns`, `tls`: as KubeletProxy's.
  MetricsView(EventLoop* loop, Registry* registry, Verbs* verbs,
              std::string netns, KubeletProxy::Tls tls)
      : loop_(loop),
        registry_(registry),
        verbs_(verbs),
        netns_(std::move(netns)),
        tls_(std::move(tls)) {}

  // Answers a GET of one or many, now or soon.
  void Serve(const ApiRequestRef& request, const ResponderRef& responder);

 private:
  void AskKubelets();
  void AskMore();
  void OnAnswer(const std::string& node, absl::StatusOr<std::string> text);
  void Answer(const ApiRequestRef& request, const ResponderRef& responder);
  void AddNodes(Served* to) const;
  void AddPods(Served* to) const;

  EventLoop* loop_;
  Registry* registry_;
  Verbs* verbs_;
  std::string netns_;
  KubeletProxy::Tls tls_;
  std::map<std::string, NodeUsage> usage_;  // by node
  absl::Duration fresh_until_ = absl::ZeroDuration();
  std::deque<std::string> to_ask_;
  size_t asked_ = 0;      // and not answered
  bool complete_ = false;  // of what was answered
  std::vector<std::pair<ApiRequestRef, ResponderRef>> waiting_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // for answers
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_METRICS_VIEW_H_
