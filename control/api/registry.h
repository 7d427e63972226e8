// SPDX-License-Identifier: Apache-2.0
// The objects of all kinds: reads from memory, and the one path that every
// write takes (prepare, defaults, admission, validation, no-op check, commit).
//
// Writes to one object are done one after the other: a write that meets
// another one under way waits for it and then sees its result. What was not
// committed is never seen by anybody.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_REGISTRY_H_
#define FAIRLEAD_CONTROL_API_REGISTRY_H_

#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/kind.h"
#include "control/api/managed_fields.h"
#include "control/store/store.h"
#include "control/store/watch_cache.h"
#include "userspace/base/clock.h"
#include "userspace/base/event_loop.h"

namespace fairlead::api {

// A kind as it is served: its row and its objects.
struct Served {
  Served(const Kind* k, std::string p, size_t history, size_t history_bytes)
      : kind(k), prefix(std::move(p)), cache(history, history_bytes) {}

  const Kind* kind;
  std::string prefix;  // of its keys in the store: "deployments.apps/"
  store::WatchCache cache;
  // {"kind":"Service","apiVersion":"v1", : goes before an object's text,
  // in place of its first brace.
  std::string head;
  // What an object has before anybody has given it anything.
  Json empty;

  // Writers that wait for the one under way, by key.
  absl::flat_hash_map<std::string, std::deque<std::function<void()>>> waiting;
};

// "namespace/name", or "name" for a kind without namespaces.
std::string ObjectKey(const Kind& kind, std::string_view ns,
                      std::string_view name);
// The whole text of an object, with kind and apiVersion, and `end` behind it.
std::string FullText(const Served& served, const store::Object& object,
                     std::string_view end = "");
// The parsed object, whole.
Json ParseObject(const Served& served, const store::Object& object);

class Registry {
 public:
  Registry(EventLoop* loop, store::Store* store, const KindTable* kinds,
           std::vector<Admission*> admissions, size_t history,
           const Clock& clock);
  ~Registry();

  [[nodiscard]] absl::Status Load();

  const KindTable& kinds() const { return *kinds_; }
  const Clock& clock() const { return clock_; }
  EventLoop* loop() { return loop_; }
  store::Revision revision() const { return store_->revision(); }
  Served* Find(const Kind* kind);
  // Null when the kind is not served.
  Served* Find(std::string_view group, std::string_view version,
               std::string_view plural);
  const std::vector<std::unique_ptr<Served>>& served() const {
    return served_;
  }

  // What a write does with the object as it is now.
  struct Plan {
    enum class Action {
      kKeep,    // nothing (a dry run of a deletion, or already done)
      kPut,     // store `object`
      kDelete,  // delete; `object` is its last content
    };
    Action action = Action::kKeep;
    Json object;
    // kPut: `object` is final. Otherwise it is what a client sent, and goes
    // through prepare, defaults, admission and validation.
    bool final = false;
    WriteVerb verb = WriteVerb::kUpdate;
    // Whose the fields become. Not of a final object: that keeps the owners
    // that it has.
    FieldManager manager;
    // managedFields are done (server-side apply) and stay as they are.
    bool applied = false;
  };
  // Called once, when no other write to the key is under way; `before` is null
  // when there is no such object.
  using Planner = std::function<absl::StatusOr<Plan>(const Json* before)>;

  struct Outcome {
    // As stored, with its resourceVersion; or as deleted. Without
    // managedFields if there is a `stored`, which has them.
    std::shared_ptr<const Json> object;
    store::ObjectRef stored;  // null: nothing was written
    bool created = false;
    bool deleted = false;
    std::vector<std::string> warnings;

    // The object with its managedFields.
    Json Whole(const Served& served) const {
      return stored == nullptr ? *object : ParseObject(served, *stored);
    }
  };
  using Done = std::function<void(absl::StatusOr<Outcome>)>;

  // `done` runs once the write is durable and visible, now or later.
  void Write(Served* served, std::string ns, std::string name, bool dry_run,
             Planner planner, Done done);

  struct Counters {
    uint64_t writes = 0, no_ops = 0, failures = 0, pending = 0;
  };
  const Counters& counters() const { return counters_; }

  std::string NewUid();
  std::string NameSuffix();  // five characters
  // Tests may choose the suffixes.
  void set_name_suffix(std::function<std::string()> suffix) {
    name_suffix_ = std::move(suffix);
  }
  std::string Now() const;   // RFC 3339, whole seconds

 private:
  struct Operation;
  void Run(std::shared_ptr<Operation> operation);
  void RunNext(Served* served, const std::string& key);
  // From what a client sent to what is stored. The error is the client's.
  [[nodiscard]] absl::Status Complete(Operation& operation);
  [[nodiscard]] absl::Status SetMetadata(Operation& operation);
  [[nodiscard]] absl::Status Admit(Operation& operation);
  // metadata.managedFields as they will be.
  Json Track(const Operation& operation, const Json& sent) const;
  void Abort(Operation& operation);
  void Commit(std::shared_ptr<Operation> operation);
  void OnCommitted(Operation& operation,
                   absl::StatusOr<store::Revision> revision);
  void OnChange(const store::Change& change);
  store::ObjectRef MakeObject(const Served& served, std::string_view key,
                              std::string_view stored, const Json& object,
                              store::Revision revision) const;
  store::ObjectRef LoadedObject(const Served& served, const store::Entry& entry,
                                const Json& object) const;

  EventLoop* loop_;
  store::Store* store_;
  const KindTable* kinds_;
  std::vector<Admission*> admissions_;
  const Clock& clock_;
  std::vector<std::unique_ptr<Served>> served_;
  absl::flat_hash_map<const Kind*, Served*> by_kind_;
  absl::flat_hash_map<std::string, Served*> by_prefix_;
  absl::BitGen random_;
  std::function<std::string()> name_suffix_;  // null: random
  Counters counters_;
  // Tells callbacks of the store that the registry is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_REGISTRY_H_
