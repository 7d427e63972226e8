// SPDX-License-Identifier: Apache-2.0
// The one set of informers that all controllers of a process share.
//
// Every informer has the indexes "namespace", "owner" (the uids of all owner
// references), "controller" (the uid of the controlling one) and "orphan" (the
// namespace of those without a controlling one). Pods also have "node", "label"
// and "state" (below), Services "selector", EndpointSlices "service": for what
// is looked up with each event or sweep, so that its cost doesn't grow with the
// namespace.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_INFORMERS_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_INFORMERS_H_

#include <functional>
#include <list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/informer.h"
#include "userspace/kube/resource.h"

namespace fairlead::controllers {

using Json = nlohmann::json;

// Of the pods' index "state"; most pods are in neither.
inline constexpr char kUnboundEnding[] = "unbound-ending";  // nobody's to end
inline constexpr char kFinished[] = "finished";

// A write whose effect an informer may not show yet.
struct Expectation {
  const kube::Resource* resource = nullptr;
  std::string key;  // "namespace/name"
  std::string uid;
  int64_t resource_version = 0;
  enum class Kind { kCreated, kChanged, kDeleted } kind = Kind::kChanged;
};

class Informers {
 public:
  Informers(EventLoop* loop, kube::Transport* transport,
            std::vector<kube::Resource> resources);
  ~Informers();

  // REQUIRES: the resource was given to the constructor.
  kube::Informer& Of(const kube::Resource& resource);
  // Null when there is none.
  kube::Informer* Find(const kube::Resource& resource);
  // By an owner reference's apiVersion and kind; null when not watched.
  const kube::Resource* FindKind(std::string_view api_version,
                                 std::string_view kind) const;
  const std::vector<kube::Resource>& resources() const { return resources_; }

  // The pods of a namespace that have all of these labels; none for no labels.
  std::vector<kube::Object> PodsWith(std::string_view ns, const Json& labels);
  // The Services whose selectors match a pod.
  std::vector<kube::Object> ServicesOf(const Json& pod);

  void Start();
  bool has_synced() const;
  // Runs once, when all have synced.
  void OnSynced(std::function<void()> fn);

  // Runs `done` once, later, when all expectations show in the informers or
  // after a few seconds, so that who plans from them sees its own writes.
  // Kinds that are not watched are left out.
  void AwaitSeen(std::vector<Expectation> expectations,
                 std::function<void(bool seen)> done);

 private:
  struct Wait;
  // What one of the waits still waits for.
  struct Open {
    Wait* wait;
    Expectation expectation;
  };
  void Changed(size_t informer, const kube::Object& before,
               const kube::Object& after);
  bool IsMet(const Expectation& expectation);
  void Finish(Wait* wait, bool seen);
  void Forget(const Wait* wait);

  EventLoop* loop_;
  std::vector<kube::Resource> resources_;
  std::vector<std::unique_ptr<kube::Informer>> informers_;
  absl::flat_hash_map<std::string, size_t> by_path_;
  std::vector<std::function<void()>> on_synced_;
  size_t unsynced_ = 0;
  std::list<std::unique_ptr<Wait>> waits_;
  // By kind and key: most changes are nobody's.
  absl::flat_hash_map<std::string, std::vector<Open>> open_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_INFORMERS_H_
