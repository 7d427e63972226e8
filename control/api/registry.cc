// SPDX-License-Identifier: Apache-2.0
#include "control/api/registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/name_suffix.h"
#include "control/api/object_fields.h"
#include "control/api/refusal.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"
#include "userspace/kube/managed_fields.h"

namespace fairlead::api {
namespace {

// What every stored text begins with; the resourceVersion goes behind it.
constexpr std::string_view kMetadataStart = "{\"metadata\":{";
// Few objects have more text than this.
constexpr size_t kUsualBytes = 2u << 10;
// Of replaced texts that a kind keeps for watches.
constexpr size_t kHistoryBytes = 8u << 20;
// Of a stored object. One that is larger than a request's body may be could
// not be replaced by anybody.
constexpr size_t kMaxObjectBytes = 3u << 20;

// A part of a text; end 0: none.
struct Span {
  size_t begin = 0, end = 0;
};

// The text in the store: without what is the same for all objects of the kind
// and without the resourceVersion, which is the store's to give. `owners` is
// where managedFields are in it, with the comma before them.
std::string StoredText(const Json& object, Span* owners = nullptr) {
  std::string text;
  text.reserve(kUsualBytes);
  text = kMetadataStart;
  auto add = [&text](const std::string& key, const Json& value) {
    kube::AppendJsonString(key, &text);
    text += ':';
    kube::AppendJson(value, &text);
  };
  for (const auto& [key, value] :
       Map(object, "metadata").get_ref<const Json::object_t&>()) {
    if (key == "resourceVersion") continue;
    const size_t begin = text.size();
    if (begin > kMetadataStart.size()) text += ',';
    add(key, value);
    if (owners != nullptr && key == "managedFields") {
      *owners = {begin, text.size()};
    }
  }
  text += '}';
  for (const auto& [key, value] : object.get_ref<const Json::object_t&>()) {
    if (key == "metadata" || key == "kind" || key == "apiVersion") continue;
    text += ',';
    add(key, value);
  }
  text += '}';
  return text;
}

// A stored text as it is sent, with its resourceVersion.
std::string SentText(std::string_view stored, store::Revision revision) {
  return StrCat(kMetadataStart, "\"resourceVersion\":\"", revision, "\",",
                stored.substr(kMetadataStart.size()));
}

// The same without managedFields.
std::string SentTextWithout(Span owners, std::string_view stored,
                            store::Revision revision) {
  if (owners.end == 0) return SentText(stored, revision);
  std::string_view before = stored.substr(0, owners.begin);
  std::string_view behind = stored.substr(owners.end);
  // The comma of the first is behind it.
  if (before == kMetadataStart && behind.starts_with(',')) {
    behind.remove_prefix(1);
  }
  return StrCat(SentText(before, revision), behind);
}

void SetRevision(Json& object, store::Revision revision) {
  Sub(object, "metadata")["resourceVersion"] = StrCat(revision);
}

// The object as this process reads it from now on.
std::shared_ptr<const Json> SharedTree(const Served& served, Json object,
                                       store::Revision revision) {
  object["kind"] = served.kind->resource.kind;
  object["apiVersion"] = served.kind->resource.ApiVersion();
  SetRevision(object, revision);
  object["metadata"].erase("managedFields");
  return std::make_shared<const Json>(std::move(object));
}

bool HasFinalizers(const Kind& kind, const Json& object) {
  if (!List(object, {"metadata", "finalizers"}).empty()) return true;
  return kind.resource.kind == "Namespace" && kind.resource.group.empty() &&
         !List(object, {"spec", "finalizers"}).empty();
}

// Nothing holds the object back any more.
bool IsDeletable(const Kind& kind, const Json& object) {
  return !Text(object, {"metadata", "deletionTimestamp"}).empty() &&
         Int(Get(object, {"metadata", "deletionGracePeriodSeconds"})) == 0 &&
         !HasFinalizers(kind, object);
}

// Whether anything but metadata and status differs.
bool SpecDiffers(const Json& a, const Json& b) {
  auto covered = [](const std::string& key) {
    return key != "metadata" && key != "status";
  };
  for (const auto& [key, value] : a.items()) {
    if (covered(key) && Get(b, key) != value) return true;
  }
  for (const auto& [key, value] : b.items()) {
    if (covered(key) && !a.contains(key)) return true;
  }
  return false;
}

// Whether an update is one that metadata.generation counts. Of Deployments
// annotations count, too; of no other kind.
bool RaisesGeneration(const Kind& kind, const Json& before,
                      const Json& object) {
  if (!kind.has_generation) return false;
  if (SpecDiffers(object, before)) return true;
  return kind.resource.group == "apps" &&
         kind.resource.plural == "deployments" &&
         Map(Get(object, {"metadata", "annotations"})) !=
             Map(Get(before, {"metadata", "annotations"}));
}

// Whether nothing but times of managedFields differs; those of `before` are
// then the object's.
bool IsNoOp(const Json& before, Json& object) {
  if (object == before) return true;
  const Json& old = List(before, {"metadata", "managedFields"});
  Json& metadata = Sub(object, "metadata");
  auto own = metadata.find("managedFields");
  if (own == metadata.end() || own->size() != old.size()) return false;
  for (size_t i = 0; i < old.size(); ++i) {
    if (Get((*own)[i], "time") == Get(old[i], "time")) continue;
    Json entry = (*own)[i];
    entry["time"] = Get(old[i], "time");
    if (entry["time"].is_null()) entry.erase("time");
    if (entry != old[i]) return false;
  }
  Json rewritten = std::exchange(*own, old);
  if (object == before) return true;
  object["metadata"]["managedFields"] = std::move(rewritten);
  return false;
}

void KeepFrom(const Json& before, Json& metadata,
              std::initializer_list<std::string_view> fields) {
  for (std::string_view field : fields) {
    const Json& old = Get(before, {"metadata", field});
    if (old.is_null()) {
      metadata.erase(std::string(field));
    } else {
      metadata[std::string(field)] = old;
    }
  }
}

}  // namespace

std::string ObjectKey(const Kind& kind, std::string_view ns,
                      std::string_view name) {
  return kind.resource.namespaced ? StrCat(ns, "/", name) : std::string(name);
}

std::string FullText(const Served& served, const store::Object& object,
                     std::string_view end) {
  return StrCat(served.head, std::string_view(object.text).substr(1), end);
}

Json ParseObject(const Served& served, const store::Object& object) {
  Json json = kube::JsonFromText(object.text);
  json["kind"] = served.kind->resource.kind;
  json["apiVersion"] = served.kind->resource.ApiVersion();
  return json;
}

struct Registry::Operation {
  Served* served = nullptr;
  std::string ns, name, key;
  bool dry_run = false;
  Planner planner;
  Done done;
  // Of the current attempt.
  store::ObjectRef before_ref;
  std::optional<Json> before;
  Plan plan;
  bool admitted = false;
  std::vector<std::string> warnings;
  Span owners;  // of the text that is stored
  // Once committed: what plan.object has become.
  std::shared_ptr<const Json> tree;
  store::ObjectRef stored;

  const Kind& kind() const { return *served->kind; }
  // A creation is checked as one even if the name turns out to be taken.
  bool creates() const {
    return plan.verb == WriteVerb::kCreate && !plan.final;
  }
  const Json* before_or_null() const {
    return before && !creates() ? &*before : nullptr;
  }
};

Registry::Registry(EventLoop* loop, store::Store* store, const KindTable* kinds,
                   std::vector<Admission*> admissions, size_t history,
                   const Clock& clock)
    : loop_(loop),
      store_(store),
      kinds_(kinds),
      admissions_(std::move(admissions)),
      clock_(clock) {
  for (const Kind& kind : kinds_->kinds()) {
    auto served = std::make_unique<Served>(&kind, GroupResource(kind) + "/",
                                           history, kHistoryBytes);
    served->head = StrCat("{\"kind\":", Quote(kind.resource.kind),
                          ",\"apiVersion\":",
                          Quote(kind.resource.ApiVersion()), ",");
    if (kind.schema != nullptr) served->empty = EmptyObject(*kind.schema);
    by_kind_[&kind] = served.get();
    by_prefix_[served->prefix] = served.get();
    served_.push_back(std::move(served));
  }
}

Registry::~Registry() = default;

// The caches begin with the objects as they were before the past changes, and
// are taken through these: a watcher of before finds its place.
absl::Status Registry::Load() {
  FL_ASSIGN_OR_RETURN(std::vector<store::PastChange> past, store_->Past());
  const store::Revision start =
      past.empty() ? store_->revision() : past.front().revision - 1;
  std::map<std::string, const store::PastChange*> first;
  for (const store::PastChange& change : past) {
    first.try_emplace(change.key, &change);
  }
  absl::Status bad;
  for (const auto& served : served_) {
    FL_RETURN_IF_ERROR(
        store_->Range(served->prefix, [&](store::Entry entry) {
          // Nobody below asks who set which field.
          Json object =
              kube::JsonFromText(kube::WithoutManagedFields(entry.value));
          if (!object.is_object() || !entry.value.starts_with(kMetadataStart)) {
            bad = absl::DataLossError(
                StrCat("the stored object ", entry.key, " is damaged"));
            return;
          }
          if (!first.contains(entry.key)) {
            served->cache.Load(LoadedObject(*served, entry, object));
          }
          object["kind"] = served->kind->resource.kind;
          object["apiVersion"] = served->kind->resource.ApiVersion();
          for (Admission* admission : admissions_) {
            admission->Restore(*served->kind, object);
          }
        }));
    FL_RETURN_IF_ERROR(bad);
    for (auto it = first.lower_bound(served->prefix);
         it != first.end() && it->first.starts_with(served->prefix); ++it) {
      const std::optional<store::Entry>& before = it->second->before;
      if (!before.has_value()) continue;
      Json object = kube::OutlineFromText(before->value);
      if (!object.is_object()) continue;
      served->cache.Load(LoadedObject(*served, *before, object));
    }
    served->cache.SetStart(start);
  }
  for (const store::PastChange& change : past) {
    OnChange({change.key, change.value ? &*change.value : nullptr,
              change.revision, nullptr});
  }
  store_->Observe([this, alive = std::weak_ptr<bool>(alive_)](
                      const store::Change& change) {
    if (!alive.expired()) OnChange(change);
  });
  return absl::OkStatus();
}

store::ObjectRef Registry::LoadedObject(const Served& served,
                                        const store::Entry& entry,
                                        const Json& object) const {
  return MakeObject(served,
                    std::string_view(entry.key).substr(served.prefix.size()),
                    entry.value, object, entry.revision);
}

Served* Registry::Find(const Kind* kind) {
  auto it = by_kind_.find(kind);
  return it == by_kind_.end() ? nullptr : it->second;
}

Served* Registry::Find(std::string_view group, std::string_view version,
                       std::string_view plural) {
  return Find(kinds_->Find(group, version, plural));
}

store::ObjectRef Registry::MakeObject(const Served& served,
                                      std::string_view key,
                                      std::string_view stored,
                                      const Json& object,
                                      store::Revision revision) const {
  auto out = std::make_shared<store::Object>();
  out->key = std::string(key);
  out->revision = revision;
  out->text = SentText(stored, revision);
  for (const auto& [name, value] :
       Map(Get(object, {"metadata", "labels"})).items()) {
    out->labels.emplace_back(name, Text(value));
  }
  for (const std::string& field : served.kind->selectable_fields) {
    out->fields.push_back(served.kind->field_value
                              ? served.kind->field_value(object, field)
                              : "");
  }
  return out;
}

void Registry::Write(Served* served, std::string ns, std::string name,
                     bool dry_run, Planner planner, Done done) {
  loop_->DCheckInLoop();
  auto operation = std::make_shared<Operation>();
  operation->served = served;
  operation->key = ObjectKey(*served->kind, ns, name);
  operation->ns = std::move(ns);
  operation->name = std::move(name);
  operation->dry_run = dry_run;
  operation->planner = std::move(planner);
  operation->done = std::move(done);
  Run(std::move(operation));
}

void Registry::Run(std::shared_ptr<Operation> operation) {
  Operation& op = *operation;
  auto waiting = op.served->waiting.find(op.key);
  if (waiting != op.served->waiting.end()) {
    waiting->second.push_back([this, operation] { Run(operation); });
    return;
  }
  op.before_ref = op.served->cache.Find(op.key);
  if (op.before_ref != nullptr) {
    op.before = ParseObject(*op.served, *op.before_ref);
  }
  absl::StatusOr<Plan> plan = op.planner(op.before ? &*op.before : nullptr);
  if (!plan.ok()) return op.done(plan.status());
  op.plan = *std::move(plan);
  if (op.plan.action == Plan::Action::kPut) {
    if (absl::Status status = Complete(op); !status.ok()) {
      Abort(op);
      return op.done(status);
    }
    if (op.creates() && op.before.has_value()) {
      Abort(op);
      return op.done(AlreadyExists(op.kind(), op.name));
    }
    if (op.before.has_value() && IsNoOp(*op.before, op.plan.object)) {
      ++counters_.no_ops;
      Abort(op);
      return op.done(Outcome{
          std::make_shared<const Json>(std::move(op.plan.object)), nullptr,
          false, false, std::move(op.warnings)});
    }
    if (op.before.has_value() && IsDeletable(op.kind(), op.plan.object)) {
      Abort(op);
      op.plan.action = Plan::Action::kDelete;
    }
  }
  if (op.plan.action == Plan::Action::kKeep || op.dry_run) {
    Abort(op);
    bool created = op.plan.action == Plan::Action::kPut && !op.before;
    bool deleted = op.plan.action == Plan::Action::kDelete;
    return op.done(
        Outcome{std::make_shared<const Json>(std::move(op.plan.object)),
                nullptr, created, deleted, std::move(op.warnings)});
  }
  Commit(std::move(operation));
}

absl::Status Registry::Complete(Operation& op) {
  if (op.plan.final) return absl::OkStatus();
  const Kind& kind = op.kind();
  Json& object = op.plan.object;
  const Json* before = op.before_or_null();
  Json owners = Get(object, {"metadata", "managedFields"});
  FL_RETURN_IF_ERROR(SetMetadata(op));
  // Owned is what the writer asked for, with its defaults; what the server
  // makes of it from here on is nobody's. A list that was sent empty is, too,
  // though it is kept as null.
  std::vector<std::string> empty_lists;
  for (const auto& [key, value] : object.items()) {
    if (value.is_array() && value.empty()) empty_lists.push_back(key);
  }
  if (kind.set_defaults) kind.set_defaults(object);
  for (const std::string& key : empty_lists) {
    auto list = object.find(key);
    if (list != object.end() && list->is_null()) *list = Json::array();
  }
  owners = Track(op, owners);
  if (kind.prepare) kind.prepare(op.plan.verb, object, before);
  if (kind.set_defaults) kind.set_defaults(object);
  FL_RETURN_IF_ERROR(Admit(op));
  if (kind.validate) {
    FieldErrors errors = kind.validate(object, before);
    if (!errors.empty()) return InvalidObject(kind, op.name, errors);
  }
  if (kind.warnings) op.warnings = kind.warnings(object, before);
  if (before != nullptr && op.plan.verb == WriteVerb::kUpdate &&
      RaisesGeneration(kind, *before, object)) {
    object["metadata"]["generation"] =
        Int(Get(*before, {"metadata", "generation"})) + 1;
  }
  if (!owners.empty()) object["metadata"]["managedFields"] = std::move(owners);
  return absl::OkStatus();
}

Json Registry::Track(const Operation& op, const Json& sent) const {
  if (op.plan.applied) return sent;
  const Json* before = op.before_or_null();
  return TrackUpdate(op.kind(), before == nullptr ? op.served->empty : *before,
                     op.plan.object, sent, op.plan.manager, Now());
}

// The fields of metadata that are the server's, whatever a client sent.
absl::Status Registry::SetMetadata(Operation& op) {
  const Kind& kind = op.kind();
  op.plan.object["kind"] = kind.resource.kind;
  op.plan.object["apiVersion"] = kind.resource.ApiVersion();
  Json& metadata = Sub(op.plan.object, "metadata");
  metadata["name"] = op.name;
  if (kind.resource.namespaced) {
    metadata["namespace"] = op.ns;
  } else {
    metadata.erase("namespace");
  }
  metadata.erase("managedFields");
  metadata.erase("selfLink");
  if (op.before_or_null() == nullptr) {
    for (const char* field : {"resourceVersion", "deletionTimestamp",
                              "deletionGracePeriodSeconds", "generation"}) {
      metadata.erase(field);
    }
    metadata["uid"] = NewUid();
    metadata["creationTimestamp"] = Now();
    if (kind.has_generation) metadata["generation"] = 1;
    return absl::OkStatus();
  }
  KeepFrom(*op.before, metadata,
           {"uid", "creationTimestamp", "generation", "deletionTimestamp",
            "deletionGracePeriodSeconds", "resourceVersion"});
  if (!metadata.contains("deletionTimestamp")) return absl::OkStatus();
  std::string added;
  const Json& old = List(*op.before, {"metadata", "finalizers"});
  for (const Json& finalizer : List(metadata, "finalizers")) {
    if (std::find(old.begin(), old.end(), finalizer) == old.end()) {
      StrAppend(&added, added.empty() ? "" : ", ", Quote(Text(finalizer)));
    }
  }
  if (added.empty()) return absl::OkStatus();
  FieldError error = FieldForbidden(
      "metadata.finalizers",
      StrCat("no new finalizers can be added if the object is being deleted, "
             "found new finalizers []string{",
             added, "}"));
  // The API's update check runs twice over metadata, and both are listed.
  return InvalidObject(kind, op.name, {error, error});
}

absl::Status Registry::Admit(Operation& op) {
  op.admitted = true;
  for (Admission* admission : admissions_) {
    FieldErrors errors =
        admission->Admit(op.kind(), op.plan.verb, op.dry_run, op.plan.object,
                         op.before_or_null());
    if (errors.empty()) continue;
    if (IsRefusal(errors)) {
      return Forbidden(op.kind(), op.name, errors[0].message);
    }
    return InvalidObject(op.kind(), op.name, errors);
  }
  return absl::OkStatus();
}

void Registry::Abort(Operation& op) {
  if (!std::exchange(op.admitted, false)) return;
  for (Admission* admission : admissions_) {
    admission->Aborted(op.kind(), op.plan.object, op.before_or_null());
  }
}

void Registry::Commit(std::shared_ptr<Operation> operation) {
  Operation& op = *operation;
  store::Write write;
  if (op.plan.action == Plan::Action::kPut) {
    write.value = StoredText(op.plan.object, &op.owners);
    if (write.value->size() > kMaxObjectBytes) {
      Abort(op);
      return op.done(TooLarge(kMaxObjectBytes));
    }
  }
  op.served->waiting[op.key];  // marks the key
  ++counters_.pending;
  write.key = op.served->prefix + op.key;
  write.expected = op.before_ref == nullptr ? 0 : op.before_ref->revision;
  write.attachment = operation;
  std::vector<store::Write> writes;
  writes.push_back(std::move(write));
  store_->Commit(std::move(writes),
                 [this, operation, alive = std::weak_ptr<bool>(alive_)](
                     absl::StatusOr<store::Revision> revision) {
                   if (alive.expired()) return;
                   OnCommitted(*operation, std::move(revision));
                 });
}

void Registry::OnChange(const store::Change& change) {
  size_t slash = change.key.find('/');
  if (slash == change.key.npos) return;
  auto it = by_prefix_.find(Absl(change.key.substr(0, slash + 1)));
  if (it == by_prefix_.end()) return;
  Served& served = *it->second;
  std::string_view key = change.key.substr(slash + 1);
  auto operation = std::static_pointer_cast<Operation>(change.attachment);
  store::Event event;
  event.before = served.cache.Find(key);
  event.revision = change.revision;
  event.deleted = change.value == nullptr;
  if (operation != nullptr) {
    Json& object = operation->plan.object;
    std::string last;
    if (event.deleted) last = StoredText(object, &operation->owners);
    const std::string& text = event.deleted ? last : *change.value;
    event.object = MakeObject(served, key, text, object, change.revision);
    event.tree_text =
        SentTextWithout(operation->owners, text, change.revision);
    event.tree = SharedTree(served, std::move(object), change.revision);
    operation->tree = event.tree;
    operation->stored = event.object;
  } else if (event.deleted) {
    if (event.before == nullptr) return;
    Json last = ParseObject(served, *event.before);
    event.object =
        MakeObject(served, key, StoredText(last), last, change.revision);
  } else {
    Json object = kube::OutlineFromText(*change.value);
    if (!object.is_object()) return;
    event.object =
        MakeObject(served, key, *change.value, object, change.revision);
  }
  served.cache.Apply(std::move(event));
}

void Registry::OnCommitted(Operation& op,
                           absl::StatusOr<store::Revision> revision) {
  --counters_.pending;
  bool deleted = op.plan.action == Plan::Action::kDelete;
  if (revision.ok()) {
    ++counters_.writes;
    op.admitted = false;
    for (Admission* admission : admissions_) {
      admission->Committed(op.kind(), op.before_or_null(),
                           deleted ? nullptr : op.tree.get());
    }
    op.done(Outcome{std::move(op.tree), std::move(op.stored),
                    !op.before.has_value(), deleted, std::move(op.warnings)});
  } else {
    ++counters_.failures;
    spdlog::error("write failed key={}{} error=\"{}\"", op.served->prefix,
                  op.key, std::string(revision.status().message()));
    Abort(op);
    op.done(absl::IsAborted(revision.status())
                ? Modified(op.kind(), op.name)
                : WithContext(revision.status(), "store"));
  }
  RunNext(op.served, op.key);
}

void Registry::RunNext(Served* served, const std::string& key) {
  auto it = served->waiting.find(key);
  if (it == served->waiting.end()) return;
  std::deque<std::function<void()>> queue = std::move(it->second);
  served->waiting.erase(it);
  while (!queue.empty()) {
    std::function<void()> next = std::move(queue.front());
    queue.pop_front();
    next();
    // Under way again: the rest waits for that.
    auto again = served->waiting.find(key);
    if (again == served->waiting.end()) continue;
    again->second.insert(again->second.begin(),
                         std::make_move_iterator(queue.begin()),
                         std::make_move_iterator(queue.end()));
    return;
  }
}

std::string Registry::NewUid() {
  uint64_t high = absl::Uniform<uint64_t>(random_);
  uint64_t low = absl::Uniform<uint64_t>(random_);
  high = (high & ~uint64_t{0xf000}) | 0x4000;                // version 4
  low = (low & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);  // variant
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32,
                         (high >> 16) & 0xffff, high & 0xffff, low >> 48,
                         low & 0xffffffffffff);
}

std::string Registry::NameSuffix() {
  if (name_suffix_) return name_suffix_();
  return RandomNameSuffix(random_);
}

std::string Registry::Now() const {
  const absl::CivilSecond now =
      absl::ToCivilSecond(clock_.Now(), absl::UTCTimeZone());
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02dZ", now.year(),
                         now.month(), now.day(), now.hour(), now.minute(),
                         now.second());
}

}  // namespace fairlead::api
