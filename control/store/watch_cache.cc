// SPDX-License-Identifier: Apache-2.0
#include "control/store/watch_cache.h"

#include <algorithm>
#include <utility>

namespace fairlead::store {

ObjectRef WatchCache::Find(std::string_view key) const {
  auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

void WatchCache::Load(ObjectRef object) {
  std::string key = object->key;
  objects_.insert_or_assign(std::move(key), std::move(object));
}

void WatchCache::Apply(Event event) {
  if (event.deleted) {
    objects_.erase(event.object->key);
  } else {
    objects_.insert_or_assign(event.object->key, event.object);
  }
  bytes_ += event.object->text.size();
  std::shared_ptr<const nlohmann::json> tree = std::move(event.tree);
  std::string tree_text = std::exchange(event.tree_text, {});
  events_.push_back(std::move(event));
  while (events_.size() > max_events_ ||
         (bytes_ > max_bytes_ && events_.size() > 1)) {
    bytes_ -= events_.front().object->text.size();
    oldest_ = events_.front().revision;
    events_.pop_front();
  }
  // By id, because a watcher may remove itself or others. A copy of the event
  // is cheap (references), and a re-entrant Apply may move the queue's own.
  Event current = events_.back();
  current.tree = std::move(tree);
  current.tree_text = std::move(tree_text);
  for (auto it = watchers_.begin(); it != watchers_.end();) {
    WatcherId id = it->first;
    auto fn = it->second;
    fn(current);
    it = watchers_.upper_bound(id);
  }
}

void WatchCache::EventsAfter(
    Revision revision, const std::function<void(const Event&)>& fn) const {
  auto first = std::upper_bound(
      events_.begin(), events_.end(), revision,
      [](Revision r, const Event& event) { return r < event.revision; });
  for (auto it = first; it != events_.end(); ++it) fn(*it);
}

WatchCache::Objects WatchCache::At(Revision revision) const {
  Objects objects = objects_;
  for (auto it = events_.rbegin();
       it != events_.rend() && it->revision > revision; ++it) {
    if (it->before == nullptr) {
      objects.erase(it->object->key);
    } else {
      objects.insert_or_assign(it->object->key, it->before);
    }
  }
  return objects;
}

WatchCache::WatcherId WatchCache::AddWatcher(
    std::function<void(const Event&)> fn) {
  WatcherId id = next_watcher_++;
  watchers_.emplace(id, std::move(fn));
  return id;
}

void WatchCache::RemoveWatcher(WatcherId id) { watchers_.erase(id); }

}  // namespace fairlead::store
