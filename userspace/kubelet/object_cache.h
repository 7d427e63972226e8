// SPDX-License-Identifier: Apache-2.0
// The ConfigMaps and Secrets that a pod refers to, fetched when they are asked
// for and kept until they are forgotten.
//
// Threads: the event loop's only; `on_change` runs from the loop.
#ifndef FAIRLEAD_USERSPACE_KUBELET_OBJECT_CACHE_H_
#define FAIRLEAD_USERSPACE_KUBELET_OBJECT_CACHE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/client.h"

namespace fairlead::kubelet {

struct ObjectData {
  std::map<std::string, std::string> text;    // a Secret's is decoded
  std::map<std::string, std::string> binary;  // a ConfigMap's binaryData
};

class ObjectCache {
 public:
  // Pointers outlive it. `on_change`: Find has an answer that it hadn't.
  ObjectCache(EventLoop* loop, kube::Client* client, std::string ns,
              std::function<void()> on_change);

  // Null while it is being fetched, also over again while the API server can't
  // be reached. Otherwise its answer: the data, NotFound with the API's words
  // or another refusal.
  const absl::StatusOr<ObjectData>* Find(bool secret, const std::string& name);
  // The next Find fetches again.
  void Forget() { objects_.clear(); }

 private:
  void Fetch(bool secret, const std::string& name, const std::string& key);

  EventLoop* loop_;
  kube::Client* client_;
  std::string ns_;
  std::function<void()> on_change_;
  std::map<std::string, absl::StatusOr<ObjectData>> objects_;  // "secret/NAME"
  std::map<std::string, std::unique_ptr<kube::Call>> calls_;
  Timer retry_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_OBJECT_CACHE_H_
