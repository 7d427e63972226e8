// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/informers.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/controllers/object.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

// A watch that lags this much is broken; planning goes on from what is known.
constexpr absl::Duration kSeenTimeout = absl::Seconds(5);

std::vector<std::string> One(std::string_view value) {
  if (value.empty()) return {};
  return {std::string(value)};
}

std::vector<std::string> OwnerUids(const Json& object) {
  std::vector<std::string> uids;
  const Json& owners = Get(object, {"metadata", "ownerReferences"});
  if (!owners.is_array()) return uids;
  for (const Json& owner : owners) uids.emplace_back(Text(owner, {"uid"}));
  return uids;
}

void AddIndexes(const kube::Resource& resource, kube::Informer& informer) {
  informer.AddIndex("namespace",
                    [](const Json& o) { return One(Namespace(o)); });
  informer.AddIndex("owner", OwnerUids);
  informer.AddIndex("controller",
                    [](const Json& o) { return One(ControllerUid(o)); });
  if (resource.group.empty() && resource.plural == "pods") {
    informer.AddIndex("node", [](const Json& o) {
      return One(Text(o, {"spec", "nodeName"}));
    });
  }
}

std::string PathOf(const kube::Resource& resource) {
  return StrCat(resource.group, "/", resource.plural);
}

}  // namespace

struct Informers::Wait {
  std::vector<Expectation> open;
  std::function<void(bool)> done;
  Timer timer;
};

Informers::Informers(EventLoop* loop, kube::Transport* transport,
                     std::vector<kube::Resource> resources)
    : loop_(loop), resources_(std::move(resources)) {
  unsynced_ = resources_.size();
  for (size_t i = 0; i < resources_.size(); ++i) {
    const kube::Resource& resource = resources_[i];
    kube::ReflectorOptions options;
    options.resource = resource;
    options.user_agent = "fairlead-controller";
    auto informer = std::make_unique<kube::Informer>(loop, transport, options);
    AddIndexes(resource, *informer);
    informer->Subscribe([this, i](const Object& before, const Object& after) {
      Changed(i, before, after);
    });
    informer->OnSynced([this] {
      if (--unsynced_ > 0) return;
      for (auto& fn : std::exchange(on_synced_, {})) fn();
    });
    by_path_[PathOf(resource)] = i;
    informers_.push_back(std::move(informer));
  }
}

Informers::~Informers() = default;

kube::Informer* Informers::Find(const kube::Resource& resource) {
  auto it = by_path_.find(PathOf(resource));
  return it == by_path_.end() ? nullptr : informers_[it->second].get();
}

kube::Informer& Informers::Of(const kube::Resource& resource) {
  kube::Informer* informer = Find(resource);
  if (informer == nullptr) std::abort();  // a wiring mistake
  return *informer;
}

const kube::Resource* Informers::FindKind(std::string_view api_version,
                                          std::string_view kind) const {
  // The version is not compared: a reference may have been written through
  // another version of the same group.
  size_t slash = api_version.find('/');
  std::string_view group = slash == std::string_view::npos
                               ? std::string_view()
                               : api_version.substr(0, slash);
  for (const kube::Resource& resource : resources_) {
    if (resource.kind == kind && resource.group == group) return &resource;
  }
  return nullptr;
}

void Informers::Start() {
  for (auto& informer : informers_) informer->Start();
}

bool Informers::has_synced() const { return unsynced_ == 0; }

void Informers::OnSynced(std::function<void()> fn) {
  on_synced_.push_back(std::move(fn));
}

void Informers::AwaitSeen(std::vector<Expectation> expectations,
                          std::function<void(bool)> done) {
  std::erase_if(expectations, [this](const Expectation& e) {
    return Find(*e.resource) == nullptr || IsMet(e);
  });
  auto wait = std::make_unique<Wait>();
  wait->open = std::move(expectations);
  wait->done = std::move(done);
  Wait* raw = wait.get();
  bool met = raw->open.empty();
  wait->timer = loop_->After(met ? absl::ZeroDuration() : kSeenTimeout,
                             [this, raw, met] { Finish(raw, met); });
  waits_.push_back(std::move(wait));
}

bool Informers::IsMet(const Expectation& e) {
  Object object = Find(*e.resource)->Get(e.key);
  if (object == nullptr) return e.kind != Expectation::Kind::kCreated;
  if (Uid(*object) != e.uid && !e.uid.empty()) {
    // Another object took the name: ours came and went.
    return e.kind != Expectation::Kind::kCreated;
  }
  if (e.kind == Expectation::Kind::kDeleted) return IsTerminating(*object);
  return ResourceVersion(*object) >= e.resource_version;
}

void Informers::Changed(size_t informer, const Object& before,
                        const Object& after) {
  if (waits_.empty()) return;
  const Object& object = after != nullptr ? after : before;
  std::string key = kube::KeyOf(*object);
  std::string path = PathOf(resources_[informer]);
  std::vector<Wait*> met;
  for (auto& wait : waits_) {
    if (wait->open.empty()) continue;
    std::erase_if(wait->open, [&](const Expectation& e) {
      if (e.key != key || PathOf(*e.resource) != path) return false;
      return after == nullptr || IsMet(e);
    });
    if (wait->open.empty()) met.push_back(wait.get());
  }
  for (Wait* wait : met) {
    // Not at once: the informer is still telling its subscribers.
    wait->timer = loop_->After(absl::ZeroDuration(),
                               [this, wait] { Finish(wait, true); });
  }
}

void Informers::Finish(Wait* wait, bool seen) {
  auto it = std::find_if(waits_.begin(), waits_.end(), [&](const auto& w) {
    return w.get() == wait;
  });
  if (it == waits_.end()) return;
  std::unique_ptr<Wait> owned = std::move(*it);
  waits_.erase(it);
  owned->done(seen);
}

}  // namespace fairlead::controllers
