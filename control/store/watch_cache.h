// SPDX-License-Identifier: Apache-2.0
// The objects of one kind in memory, as text that is ready to be sent, with
// what selectors look at; their recent history; and who watches them. Encoded
// once, read many times.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_STORE_WATCH_CACHE_H_
#define FAIRLEAD_CONTROL_STORE_WATCH_CACHE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/store/store.h"

namespace fairlead::kube {
struct WatchedObject;  // transport.h
}

namespace fairlead::store {

// An immutable version of an object.
struct Object {
  std::string key;  // within its kind: "namespace/name" or "name"
  // {"metadata":{"resourceVersion":"7",...},...}: an item of a list. Without
  // kind and apiVersion, which are the same for all.
  std::string text;
  Revision revision = 0;
  std::vector<std::pair<std::string, std::string>> labels;  // sorted
  std::vector<std::string> fields;  // in the order of the kind's row
};
// Shared by the cache, its history, and answers being written.
using ObjectRef = std::shared_ptr<const Object>;

struct Event {
  ObjectRef before;  // null: created
  // Deleted: the last content with the deletion's revision.
  ObjectRef object;
  bool deleted = false;
  Revision revision = 0;
  // `object` as it was read or made: whole, but for managedFields. Null when
  // nobody had it. And its text. Only while watchers are told: history keeps
  // less.
  std::shared_ptr<const nlohmann::json> tree;
  std::string tree_text;
  // The line that most watchers of this event send, made by the first.
  mutable std::shared_ptr<const std::string> line;
  // The same for watchers who asked for protobuf.
  mutable std::shared_ptr<const std::string> frame;
  // The same for those in this process, with `tree`.
  mutable std::shared_ptr<const kube::WatchedObject> watched;
};

class WatchCache {
 public:
  // Keeps up to `history` events, and never more than `history_bytes` of
  // replaced texts.
  WatchCache(size_t history, size_t history_bytes)
      : max_events_(history), max_bytes_(history_bytes) {}

  using Objects = std::map<std::string, ObjectRef, std::less<>>;
  const Objects& objects() const { return objects_; }
  ObjectRef Find(std::string_view key) const;

  // At start, before any Apply. `revision` is the store's.
  void Load(ObjectRef object);
  void SetStart(Revision revision) { oldest_ = revision; }

  // Null `object` deletes `key` (then `deleted` is its last state).
  void Apply(Event event);

  // Watches can begin at this revision or later.
  Revision oldest() const { return oldest_; }
  // Calls `fn` for the events after `revision`. REQUIRES: revision >= oldest().
  void EventsAfter(Revision revision,
                   const std::function<void(const Event&)>& fn) const;
  // The objects as they were at `revision`. REQUIRES: revision >= oldest().
  Objects At(Revision revision) const;

  // `fn` runs for each event from now on until the returned id is removed.
  // It may remove itself or others.
  using WatcherId = uint64_t;
  WatcherId AddWatcher(std::function<void(const Event&)> fn);
  void RemoveWatcher(WatcherId id);
  size_t watchers() const { return watchers_.size(); }

 private:
  Objects objects_;
  std::deque<Event> events_;
  size_t max_events_, max_bytes_, bytes_ = 0;
  Revision oldest_ = 0;
  WatcherId next_watcher_ = 1;
  std::map<WatcherId, std::function<void(const Event&)>> watchers_;
};

}  // namespace fairlead::store

#endif  // FAIRLEAD_CONTROL_STORE_WATCH_CACHE_H_
