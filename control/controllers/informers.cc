// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/informers.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/controllers/endpoint_slice.h"
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

std::string LabelTerm(std::string_view ns, std::string_view key,
                      const Json& value) {
  const auto* text = value.get_ptr<const std::string*>();
  return StrCat(ns, "/", key, "=", text == nullptr ? "" : *text);
}

std::vector<std::string> LabelTerms(const Json& object) {
  std::vector<std::string> terms;
  const Json& labels = Get(object, {"metadata", "labels"});
  if (!labels.is_object()) return terms;
  for (const auto& [key, value] : labels.items()) {
    terms.push_back(LabelTerm(Namespace(object), key, value));
  }
  return terms;
}

// One term of a selector is enough to be found by: the rest is compared.
std::vector<std::string> SelectorTerm(const Json& service) {
  const Json& selector = Get(service, {"spec", "selector"});
  if (!selector.is_object() || selector.empty()) return {};
  auto first = selector.begin();
  return {LabelTerm(Namespace(service), first.key(), first.value())};
}

std::vector<std::string> ServiceOf(const Json& slice) {
  std::string_view service = Label(slice, kServiceName);
  if (service.empty()) return {};
  return {StrCat(Namespace(slice), "/", service)};
}

std::vector<std::string> StateOf(const Json& pod) {
  if (IsTerminating(pod) && Text(pod, {"spec", "nodeName"}).empty()) {
    return {kUnboundEnding};
  }
  if (IsPodTerminated(pod)) return {kFinished};
  return {};
}

void AddIndexes(const kube::Resource& resource, kube::Informer& informer) {
  informer.AddIndex("namespace",
                    [](const Json& o) { return One(Namespace(o)); });
  informer.AddIndex("owner", OwnerUids);
  informer.AddIndex("controller",
                    [](const Json& o) { return One(ControllerUid(o)); });
  informer.AddIndex("orphan", [](const Json& o) {
    return One(ControllerOf(o) == nullptr ? Namespace(o) : "");
  });
  if (resource.group.empty() && resource.plural == "pods") {
    informer.AddIndex("node", [](const Json& o) {
      return One(Text(o, {"spec", "nodeName"}));
    });
    informer.AddIndex("label", LabelTerms);
    informer.AddIndex("state", StateOf);
  } else if (resource.plural == "services") {
    informer.AddIndex("selector", SelectorTerm);
  } else if (resource.plural == "endpointslices") {
    informer.AddIndex("service", ServiceOf);
  }
}

std::string PathOf(const kube::Resource& resource) {
  return StrCat(resource.group, "/", resource.plural);
}

std::string OpenKey(const kube::Resource& resource, std::string_view key) {
  return StrCat(PathOf(resource), "/", key);
}

}  // namespace

struct Informers::Wait {
  size_t open = 0;  // of its expectations
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
    options.objects = true;
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

std::vector<Object> Informers::PodsWith(std::string_view ns,
                                        const Json& labels) {
  std::vector<Object> pods;
  if (!labels.is_object() || labels.empty()) return pods;
  auto first = labels.begin();
  pods = Of(kube::Pods())
             .ByIndex("label", LabelTerm(ns, first.key(), first.value()));
  std::erase_if(pods, [&](const Object& pod) {
    return !MapSelects(labels, Get(*pod, {"metadata", "labels"}));
  });
  return pods;
}

std::vector<Object> Informers::ServicesOf(const Json& pod) {
  std::vector<Object> services;
  const Json& labels = Get(pod, {"metadata", "labels"});
  for (const std::string& term : LabelTerms(pod)) {
    for (Object& service : Of(kube::Services()).ByIndex("selector", term)) {
      if (MapSelects(Get(*service, {"spec", "selector"}), labels)) {
        services.push_back(std::move(service));
      }
    }
  }
  return services;
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
  auto wait = std::make_unique<Wait>();
  wait->done = std::move(done);
  Wait* raw = wait.get();
  for (Expectation& e : expectations) {
    if (Find(*e.resource) == nullptr || IsMet(e)) continue;
    ++raw->open;
    std::string key = OpenKey(*e.resource, e.key);
    open_[std::move(key)].push_back({raw, std::move(e)});
  }
  bool met = raw->open == 0;
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
  if (open_.empty()) return;
  const Object& object = after != nullptr ? after : before;
  auto it = open_.find(OpenKey(resources_[informer], kube::KeyOf(*object)));
  if (it == open_.end()) return;
  std::erase_if(it->second, [&](const Open& open) {
    if (after != nullptr && !IsMet(open.expectation)) return false;
    if (--open.wait->open == 0) {
      // Not at once: the informer is still telling its subscribers.
      open.wait->timer =
          loop_->After(absl::ZeroDuration(),
                       [this, wait = open.wait] { Finish(wait, true); });
    }
    return true;
  });
  if (it->second.empty()) open_.erase(it);
}

void Informers::Forget(const Wait* wait) {
  for (auto it = open_.begin(); it != open_.end();) {
    std::erase_if(it->second,
                  [&](const Open& open) { return open.wait == wait; });
    auto here = it++;
    if (here->second.empty()) open_.erase(here);
  }
}

void Informers::Finish(Wait* wait, bool seen) {
  auto it = std::find_if(waits_.begin(), waits_.end(), [&](const auto& w) {
    return w.get() == wait;
  });
  if (it == waits_.end()) return;
  if (wait->open > 0) Forget(wait);
  std::unique_ptr<Wait> owned = std::move(*it);
  waits_.erase(it);
  owned->done(seen);
}

}  // namespace fairlead::controllers
