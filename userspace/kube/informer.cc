// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/informer.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"
#include "userspace/kube/managed_fields.h"

namespace fairlead::kube {
namespace {

using Json = nlohmann::json;

const std::string* MetaField(const Json& object, const char* name) {
  auto meta = object.find("metadata");
  if (meta == object.end() || !meta->is_object()) return nullptr;
  auto it = meta->find(name);
  if (it == meta->end()) return nullptr;
  return it->get_ptr<const std::string*>();
}

bool SameVersion(const Json& a, const Json& b) {
  const std::string* version_a = MetaField(a, "resourceVersion");
  const std::string* version_b = MetaField(b, "resourceVersion");
  const std::string* uid_a = MetaField(a, "uid");
  const std::string* uid_b = MetaField(b, "uid");
  return version_a != nullptr && version_b != nullptr && uid_a != nullptr &&
         uid_b != nullptr && *version_a == *version_b && *uid_a == *uid_b;
}

// Objects that stay parsed because they were read last: those of a burst of
// changes, which several controllers look at. A tree is 5 to 10 KB.
constexpr size_t kRecent = 256;

}  // namespace

std::string KeyOf(const Json& object) {
  const std::string* ns = MetaField(object, "namespace");
  const std::string* name = MetaField(object, "name");
  if (name == nullptr) return "";
  return ns == nullptr || ns->empty() ? *name : StrCat(*ns, "/", *name);
}

class Informer::Impl : public ReflectorSink {
 public:
  Impl(EventLoop* loop, Transport* transport, ReflectorOptions options)
      : resource_(options.resource),
        reflector_(loop, transport, std::move(options), this) {}

  // An object as text, which takes a tenth of the memory of its tree, and the
  // tree as long as somebody holds it.
  struct Entry {
    std::string text;
    std::weak_ptr<const Json> parsed;
  };

  void ReplaceBegin() override { listed_.clear(); }

  void OnListed(const EncodedObject& from) override {
    listed_.push_back(WithoutManagedFields(from.bytes));
  }

  void ReplaceEnd(std::string_view) override {
    std::vector<std::string> listed = std::exchange(listed_, {});
    absl::flat_hash_set<std::string> seen;
    for (std::string& text : listed) {
      Object object = Parse(text);
      if (object == nullptr) continue;
      std::string key = KeyOf(*object);
      seen.insert(key);
      auto it = objects_.find(key);
      if (it != objects_.end() && SameVersion(*Parsed(it->second), *object)) {
        continue;
      }
      Put(key, std::move(text), std::move(object));
    }
    std::vector<std::string> gone;
    for (const auto& [key, entry] : objects_) {
      if (!seen.contains(key)) gone.push_back(key);
    }
    for (const std::string& key : gone) Remove(key, nullptr);
    if (std::exchange(synced_, true)) return;
    for (auto& fn : std::exchange(on_synced_, {})) fn();
  }

  void ReplaceAbort() override { listed_.clear(); }

  void OnEvent(WatchEvent event, const EncodedObject& from) override {
    std::string text = WithoutManagedFields(from.bytes);
    Object object = Parse(text);
    if (object == nullptr) return;
    std::string key = KeyOf(*object);
    if (event == WatchEvent::kDeleted) {
      Remove(key, object);
    } else {
      Put(key, std::move(text), std::move(object));
    }
  }

  void OnObject(WatchEvent event, const WatchedObject& from) override {
    std::string key = KeyOf(*from.object);
    if (key.empty()) return;
    if (event == WatchEvent::kDeleted) {
      Remove(key, from.object);
    } else {
      Put(key, from.text, from.object);
    }
  }

  void OnState(const absl::Status&) override {}

  Object Parse(std::string_view text) const {
    Json json = JsonFromText(text);
    if (!json.is_object() || KeyOf(json).empty()) return nullptr;
    // Items of a list lack these; readers shouldn't have to know.
    if (!json.contains("kind")) json["kind"] = resource_.kind;
    if (!json.contains("apiVersion")) {
      json["apiVersion"] = resource_.ApiVersion();
    }
    return std::make_shared<const Json>(std::move(json));
  }

  Object Parsed(Entry& entry) {
    if (Object object = entry.parsed.lock()) return object;
    Object object = Parse(entry.text);
    entry.parsed = object;
    Remember(object);
    return object;
  }

  void Remember(const Object& object) {
    if (recent_.size() < kRecent) return recent_.push_back(object);
    recent_[oldest_] = object;
    oldest_ = (oldest_ + 1) % kRecent;
  }

  Object Get(std::string_view key) {
    auto it = objects_.find(key);
    return it == objects_.end() ? nullptr : Parsed(it->second);
  }

  void Put(const std::string& key, std::string text, const Object& after) {
    auto [it, added] = objects_.try_emplace(key);
    Entry& entry = it->second;
    Object before = added ? nullptr : Parsed(entry);
    text.shrink_to_fit();
    entry.text = std::move(text);
    entry.parsed = after;
    Remember(after);
    Reindex(key, before, after);
    Tell(before, after);
  }

  // `last` is the object as the server last saw it, if known.
  void Remove(const std::string& key, Object last) {
    auto it = objects_.find(key);
    if (it == objects_.end()) return;
    Object before = Parsed(it->second);
    objects_.erase(it);
    Reindex(key, before, nullptr);
    Tell(last != nullptr ? last : before, nullptr);
  }

  void Reindex(const std::string& key, const Object& before,
               const Object& after) {
    for (auto& [name, index] : indexes_) {
      if (before != nullptr) {
        for (const std::string& value : index.fn(*before)) {
          auto it = index.keys.find(value);
          if (it == index.keys.end()) continue;
          it->second.erase(key);
          if (it->second.empty()) index.keys.erase(it);
        }
      }
      if (after != nullptr) {
        for (const std::string& value : index.fn(*after)) {
          index.keys[value].insert(key);
        }
      }
    }
  }

  void Tell(const Object& before, const Object& after) {
    for (const OnChange& fn : subscribers_) fn(before, after);
  }

  struct Index {
    IndexFunction fn;
    absl::flat_hash_map<std::string, std::set<std::string>> keys;
  };

  Resource resource_;
  // Ordered, so that ForEach is in key order as the API server's lists are.
  std::map<std::string, Entry, std::less<>> objects_;
  std::vector<Object> recent_;
  size_t oldest_ = 0;  // in recent_, once that is full
  std::map<std::string, Index, std::less<>> indexes_;
  std::vector<OnChange> subscribers_;
  std::vector<std::function<void()>> on_synced_;
  std::vector<std::string> listed_;
  bool synced_ = false;
  Reflector reflector_;
};

Informer::Informer(EventLoop* loop, Transport* transport,
                   ReflectorOptions options)
    : impl_(std::make_unique<Impl>(loop, transport, std::move(options))) {}
Informer::~Informer() = default;

void Informer::AddIndex(std::string name, IndexFunction fn) {
  impl_->indexes_[std::move(name)].fn = std::move(fn);
}

void Informer::Subscribe(OnChange on_change) {
  impl_->subscribers_.push_back(std::move(on_change));
}

void Informer::OnSynced(std::function<void()> fn) {
  impl_->on_synced_.push_back(std::move(fn));
}

void Informer::Start() { impl_->reflector_.Start(); }
bool Informer::has_synced() const { return impl_->synced_; }

Object Informer::Get(std::string_view key) const { return impl_->Get(key); }

bool Informer::Contains(std::string_view key) const {
  return impl_->objects_.find(key) != impl_->objects_.end();
}

std::vector<std::string> Informer::IndexValues(std::string_view index) const {
  std::vector<std::string> values;
  auto it = impl_->indexes_.find(index);
  if (it == impl_->indexes_.end()) return values;
  for (const auto& [value, keys] : it->second.keys) values.push_back(value);
  return values;
}

std::vector<Object> Informer::ByIndex(std::string_view index,
                                      std::string_view value) const {
  std::vector<Object> found;
  auto it = impl_->indexes_.find(index);
  if (it == impl_->indexes_.end()) return found;
  auto keys = it->second.keys.find(Absl(value));
  if (keys == it->second.keys.end()) return found;
  found.reserve(keys->second.size());
  for (const std::string& key : keys->second) found.push_back(Get(key));
  return found;
}

void Informer::ForEach(const std::function<void(const Object&)>& fn) const {
  // All of them: none is worth remembering.
  for (const auto& [key, entry] : impl_->objects_) {
    Object object = entry.parsed.lock();
    fn(object != nullptr ? object : impl_->Parse(entry.text));
  }
}

size_t Informer::size() const { return impl_->objects_.size(); }

}  // namespace fairlead::kube
