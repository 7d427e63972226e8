// SPDX-License-Identifier: Apache-2.0
// A reflector's content as immutable JSON objects without managedFields, with
// change callbacks and an index; what controllers and the kubelet read.
//
// Threads: the event loop's only. Objects are shared_ptr<const Json> because
// a controller may hold one across later changes; they never change.
#ifndef FAIRLEAD_USERSPACE_KUBE_INFORMER_H_
#define FAIRLEAD_USERSPACE_KUBE_INFORMER_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/base/event_loop.h"
#include "userspace/kube/reflector.h"

namespace fairlead::kube {

using Object = std::shared_ptr<const nlohmann::json>;

class Informer {
 public:
  // `before` is null for an add, `after` is null for a delete. During a list
  // one call for each difference to what was known.
  using OnChange = std::function<void(const Object& before,
                                      const Object& after)>;
  // The values under which an object can be found (such as its node's name).
  using IndexFunction =
      std::function<std::vector<std::string>(const nlohmann::json&)>;

  Informer(EventLoop* loop, Transport* transport, ReflectorOptions options);
  ~Informer();

  // REQUIRES: before Start().
  void AddIndex(std::string name, IndexFunction fn);
  void Subscribe(OnChange on_change);
  // Runs once when the first list has been delivered whole.
  void OnSynced(std::function<void()> fn);

  void Start();
  bool has_synced() const;

  // Null when absent. `key` is "namespace/name", or "name".
  Object Get(std::string_view key) const;
  bool Contains(std::string_view key) const;
  std::vector<Object> ByIndex(std::string_view index,
                              std::string_view value) const;
  // The values under which there is something, in no order.
  std::vector<std::string> IndexValues(std::string_view index) const;
  // Every object that isn't parsed already is parsed for the call alone: to
  // keep many of them is to hold as many trees.
  void ForEach(const std::function<void(const Object&)>& fn) const;
  size_t size() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// "namespace/name" or "name" of an object.
std::string KeyOf(const nlohmann::json& object);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_INFORMER_H_
