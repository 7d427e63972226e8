// SPDX-License-Identifier: Apache-2.0
// Tells people what happened to an object: Events, counted instead of repeated,
// and limited for each object so that a loop gone wild can't flood the API.
// Best effort: an event that can't be sent is dropped.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBE_EVENTS_H_
#define FAIRLEAD_USERSPACE_KUBE_EVENTS_H_

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "userspace/base/clock.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/client.h"

namespace fairlead::kube {

enum class EventType { kNormal, kWarning };

// The same Event objects by two names. kEvents: events.k8s.io/v1, as kube-proxy
// and kube-scheduler write them, repeats as a series; core/v1 from a server
// that has no such group (404) on. kCore: core/v1, as the kubelet and the
// controllers write them.
enum class EventApi { kCore, kEvents };

// The involvedObject of `object`. Lists leave out apiVersion and kind, so
// they come from `resource`. `field_path`: "spec.containers{web}" or "".
nlohmann::json ReferenceTo(const Resource& resource,
                           const nlohmann::json& object,
                           std::string_view field_path = "");

class EventRecorder {
 public:
  // `component`: "deployment-controller"; `host`: the node's name, or "", which
  // a server refuses of kEvents. Pointers must outlive the recorder.
  EventRecorder(EventLoop* loop, Client* client, std::string component,
                std::string host = "", EventApi api = EventApi::kCore,
                const Clock& clock = Clock::Real());
  ~EventRecorder();

  // `about` is a ReferenceTo() something. `action`: what failed or was done,
  // for kEvents ("Sync").
  void Record(const nlohmann::json& about, EventType type,
              std::string_view reason, std::string_view message,
              std::string_view action = "Sync");

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_EVENTS_H_
