// SPDX-License-Identifier: Apache-2.0
#include "control/api/managed_fields.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "control/api/api_status.h"
#include "control/api/field_set.h"
#include "control/api/json_access.h"
#include "control/api/object_fields.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr size_t kMaxManagerName = 128;
// So many entries of updates; older ones are put together under one name.
constexpr size_t kMaxUpdaters = 10;
constexpr const char* kOldUpdates = "ancient-changes";
// Who had the fields of an object that has no managedFields when it is applied
// for the first time.
constexpr const char* kBeforeFirstApply = "before-first-apply";
constexpr const char* kUpdate = "Update";
constexpr const char* kApply = "Apply";
// kubectl's own record of client-side apply, and the manager name for which
// the server keeps it up to date.
constexpr const char* kLastApplied =
    "kubectl.kubernetes.io/last-applied-configuration";
constexpr std::string_view kKubectl = "kubectl";
constexpr size_t kMaxAnnotationBytes = 256u << 10;

// One element of managedFields.
struct Entry {
  std::string manager, operation, api_version, subresource, time;
  FieldSet fields = FieldSet::object();

  bool applied() const { return operation == kApply; }
  // Entries of one identity are one. An applier is the same in all versions.
  auto identity() const {
    return std::tuple(manager, operation,
                      applied() ? std::string() : api_version, subresource);
  }
};
using Entries = std::vector<Entry>;

std::optional<Entries> ParseEntries(const Json& list) {
  Entries out;
  for (const Json& json : List(list)) {
    Entry entry;
    entry.manager = std::string(Text(json, "manager"));
    entry.operation = std::string(Text(json, "operation"));
    entry.api_version = std::string(Text(json, "apiVersion"));
    entry.subresource = std::string(Text(json, "subresource"));
    entry.time = std::string(Text(json, "time"));
    const Json& fields = Get(json, "fieldsV1");
    bool known = entry.operation == kUpdate || entry.operation == kApply;
    if (!known || Text(json, "fieldsType") != "FieldsV1") return std::nullopt;
    if (fields.is_object()) entry.fields = fields;
    out.push_back(std::move(entry));
  }
  return out;
}

// In the server's order: appliers first, then by time.
Json EntriesJson(Entries entries) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.operation, a.time, a.manager, a.api_version,
                    a.subresource) < std::tie(b.operation, b.time, b.manager,
                                              b.api_version, b.subresource);
  });
  Json out = Json::array();
  for (Entry& entry : entries) {
    if (entry.fields.empty()) continue;
    Json json = Json::object();
    json["manager"] = std::move(entry.manager);
    json["operation"] = std::move(entry.operation);
    json["apiVersion"] = std::move(entry.api_version);
    json["fieldsType"] = "FieldsV1";
    json["fieldsV1"] = std::move(entry.fields);
    if (!entry.time.empty()) json["time"] = std::move(entry.time);
    if (!entry.subresource.empty()) {
      json["subresource"] = std::move(entry.subresource);
    }
    out.push_back(std::move(json));
  }
  return out;
}

Entry* FindEntry(Entries& entries, const Entry& like) {
  for (Entry& entry : entries) {
    if (entry.identity() == like.identity()) return &entry;
  }
  return nullptr;
}

// Fields that are nobody's: the server's own, and those that the endpoint
// doesn't write.
const FieldSet& UntrackedFields(const Kind& kind,
                                std::string_view subresource) {
  static const auto with = [](const char* part) {
    FieldSet metadata = {{kSelf, FieldSet::object()}};
    for (const char* name :
         {"name", "namespace", "creationTimestamp", "selfLink", "uid",
          "generation", "managedFields", "resourceVersion"}) {
      metadata[std::string("f:") + name] = FieldSet::object();
    }
    FieldSet out = {{"f:apiVersion", FieldSet::object()},
                    {"f:kind", FieldSet::object()},
                    {"f:metadata", std::move(metadata)}};
    if (part != nullptr) out[part] = FieldSet::object();
    return out;
  };
  static const FieldSet in_status = with("f:spec");
  static const FieldSet beside_status = with("f:status");
  static const FieldSet whole = with(nullptr);
  if (subresource == "status") return in_status;
  return kind.has_status ? beside_status : whole;
}

void DropUntracked(const Kind& kind, std::string_view subresource,
                   FieldSet& set) {
  TakeFields(set, UntrackedFields(kind, subresource));
  // Of those the whole part, not only the field itself.
  if (subresource == "status") {
    set.erase("f:spec");
  } else if (kind.has_status) {
    set.erase("f:status");
  }
}

FieldChanges TrackedChanges(const Kind& kind, std::string_view subresource,
                            const Json& before, const Json& after) {
  FieldChanges changes = CompareFields(*kind.schema, before, after);
  DropUntracked(kind, subresource, changes.changed);
  DropUntracked(kind, subresource, changes.removed);
  return changes;
}

// The oldest updates become one entry for each version.
void CapUpdaters(Entries& entries) {
  std::vector<Entry*> updaters;
  for (Entry& entry : entries) {
    if (!entry.applied()) updaters.push_back(&entry);
  }
  size_t count = updaters.size();
  if (count <= kMaxUpdaters) return;
  std::sort(updaters.begin(), updaters.end(),
            [](const Entry* a, const Entry* b) {
              return std::tuple(a->time, a->identity()) <
                     std::tuple(b->time, b->identity());
            });
  std::map<std::string, Entry*> buckets;  // by version
  for (Entry* entry : updaters) {
    if (count <= kMaxUpdaters) break;
    auto [it, first] = buckets.try_emplace(entry->api_version, entry);
    if (first) continue;
    Entry& bucket = *it->second;
    bucket.manager = kOldUpdates;
    bucket.subresource.clear();
    bucket.time = entry->time;
    AddFields(bucket.fields, entry->fields);
    entry->fields = FieldSet::object();  // and so is left out
    --count;
  }
}

bool IsReset(const Json& sent) {
  if (!sent.is_array()) return false;
  return sent.empty() ||
         (sent.size() == 1 && sent[0].is_object() && sent[0].empty());
}

// What a body that sends managedFields makes of them; those of the live object
// when it sends none or bad ones.
Entries EntriesToUpdate(const Json& before, const Json& sent,
                        std::string_view subresource) {
  if (subresource.empty() && sent.is_array() && !sent.empty()) {
    std::optional<Entries> entries = ParseEntries(sent);
    bool fine = entries.has_value();
    if (fine && sent != Get(before, {"metadata", "managedFields"})) {
      for (Entry& entry : *entries) {
        fine &= CanonicalFields(entry.fields).ok();
      }
    }
    if (fine) return *std::move(entries);
  }
  return ParseEntries(Get(before, {"metadata", "managedFields"}))
      .value_or(Entries());
}

Json WithoutManagedFields(const Json& object) {
  Json out = object;
  if (auto it = out.find("metadata"); it != out.end() && it->is_object()) {
    it->erase("managedFields");
  }
  return out;
}

// --- apply ------------------------------------------------------------------

// A field that the apply would take from its owner.
struct FieldConflict {
  std::string owner;  // as the message names it
  std::string path;
};

std::string OwnerText(const Entry& entry) {
  std::string out = Quote(entry.manager);
  if (!entry.subresource.empty()) {
    StrAppend(&out, " with subresource ", Quote(entry.subresource));
  }
  if (!entry.applied()) StrAppend(&out, " using ", entry.api_version);
  return out;
}

absl::Status ConflictError(const std::vector<FieldConflict>& conflicts) {
  Json causes = Json::array();
  std::map<std::string, std::vector<std::string>> by_owner;
  for (const FieldConflict& conflict : conflicts) {
    causes.push_back({{"reason", "FieldManagerConflict"},
                      {"message", StrCat("conflict with ", conflict.owner)},
                      {"field", conflict.path}});
    by_owner[conflict.owner].push_back(conflict.path);
  }
  std::string text;
  if (conflicts.size() == 1) {
    text = StrCat("conflict: conflict with ", conflicts[0].owner, ": ",
                  conflicts[0].path);
  } else {
    text = "conflicts: ";
    std::vector<std::string> lines;
    for (const auto& [owner, paths] : by_owner) {
      lines.push_back(StrCat("conflicts with ", owner, ":"));
      for (const std::string& path : paths) lines.push_back("- " + path);
    }
    text += absl::StrJoin(lines, "\n");
  }
  Json details = {{"causes", std::move(causes)}};
  return MakeStatus({409, "Conflict",
                     StrCat("Apply failed with ", conflicts.size(), " ", text),
                     details.dump(), ""});
}

// Group, version and kind as the server prints them.
std::string GvkText(const Json& object) {
  std::string version(Text(object, "apiVersion"));
  if (version.find('/') == version.npos) version = "/" + version;
  return StrCat(version, ", Kind=", Text(object, "kind"));
}

absl::Status CheckConfig(const Kind& kind, const Json& config) {
  if (config.is_object() && config.contains("metadata") &&
      !Get(config, {"metadata", "managedFields"}).is_null()) {
    return BadRequest("metadata.managedFields must be nil");
  }
  std::string_view version = Text(config, "apiVersion");
  if (version != kind.resource.ApiVersion()) {
    return BadRequest(StrCat(
        "Incorrect version specified in apply patch. Specified patch version: ",
        version, ", expected: ", kind.resource.ApiVersion()));
  }
  std::vector<std::string> problems = ApplyProblems(*kind.schema, config);
  if (problems.empty()) return absl::OkStatus();
  std::string text =
      problems.size() == 1
          ? problems[0]
          : StrCat("errors:\n  ", absl::StrJoin(problems, "\n  "));
  return InternalError(StrCat(
      "failed to create typed patch object (",
      Text(config, {"metadata", "namespace"}), "/",
      Text(config, {"metadata", "name"}), "; ", GvkText(config), "): ", text));
}

// `merged` without what the manager applied last and no longer has, unless
// somebody has it.
Json Pruned(const Type& type, const Json& merged, const FieldSet& last,
            const Entries& entries) {
  FieldSet gone = CommonFields(WithNamedFields(type, last),
                               WithNamedFields(type, FieldsOf(type, merged)));
  FieldSet owned = FieldSet::object();
  for (const Entry& entry : entries) AddFields(owned, entry.fields);
  TakeFields(gone, WithNamedFields(type, owned));
  return gone.empty() ? merged : WithoutFields(type, merged, gone);
}

// The fields that client-side apply set last and that still have that value.
FieldSet LastAppliedFields(const Kind& kind, const Json& live) {
  std::string_view text =
      Text(Get(live, {"metadata", "annotations"}), kLastApplied);
  Json config = Json::parse(text, nullptr, false);
  if (!config.is_object() || !ApplyProblems(*kind.schema, config).empty()) {
    return FieldSet::object();
  }
  FieldSet fields = FieldsOf(*kind.schema, config);
  FieldChanges changes = CompareFields(*kind.schema, config, live);
  TakeFields(fields, changes.changed);
  TakeFields(fields, changes.removed);
  return fields;
}

// What kubectl would have left in its annotation.
void SyncLastApplied(const Json& config, Json& object) {
  Json& annotations = object["metadata"]["annotations"];
  Json shown = config;
  if (auto it = shown.find("metadata"); it != shown.end() && it->is_object()) {
    if (auto own = it->find("annotations");
        own != it->end() && own->is_object()) {
      own->erase(kLastApplied);
    }
  }
  std::string text;
  for (char c : shown.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    switch (c) {  // only inside strings
      case '<':
        text += "\\u003c";
        break;
      case '>':
        text += "\\u003e";
        break;
      case '&':
        text += "\\u0026";
        break;
      default:
        text += c;
    }
  }
  text += "\n";
  if (text.size() > kMaxAnnotationBytes) {
    annotations.erase(kLastApplied);
  } else {
    annotations[kLastApplied] = std::move(text);
  }
}

// One apply under way.
class Applier {
 public:
  Applier(const Kind& kind, const Json& live, const ApplyRequest& request,
          const std::string& now)
      : kind_(kind), live_(live), request_(request), now_(now) {
    own_.manager = request.manager.name;
    own_.operation = kApply;
    own_.api_version = kind.resource.ApiVersion();
    own_.subresource = request.manager.subresource;
  }

  absl::StatusOr<Json> Run(Entries entries, bool exists) {
    const Type& type = *kind_.schema;
    FieldSet last = FieldSet::object();
    if (const Entry* former = FindEntry(entries, own_)) {
      last = former->fields;
      own_.time = former->time;
    }
    std::erase_if(entries, [&](const Entry& entry) {
      return entry.identity() == own_.identity();
    });
    own_.fields = FieldsOf(type, *request_.config);
    DropUntracked(kind_, own_.subresource, own_.fields);
    entries.push_back(own_);
    Json object = Pruned(type, MergeApplied(type, live_, *request_.config),
                         last, entries);
    FieldChanges changes =
        TrackedChanges(kind_, own_.subresource, live_, object);
    FL_RETURN_IF_ERROR(CheckConflicts(entries, changes.changed));
    for (Entry& entry : entries) {
      if (entry.identity() == own_.identity()) {
        if (!exists || object != live_) entry.time = now_;
        continue;
      }
      TakeFields(entry.fields, changes.changed);
      TakeFields(entry.fields, changes.removed);
    }
    std::erase_if(entries, [](const Entry& entry) {
      return entry.fields.empty();
    });
    const Json& annotations = Get(object, {"metadata", "annotations"});
    if (own_.manager == kKubectl && annotations.is_object() &&
        annotations.contains(kLastApplied)) {
      SyncLastApplied(*request_.config, object);
    }
    if (!entries.empty()) {
      Sub(object, "metadata")["managedFields"] =
          EntriesJson(std::move(entries));
    }
    return object;
  }

 private:
  absl::Status CheckConflicts(const Entries& entries, FieldSet changed) {
    if (request_.force) return absl::OkStatus();
    // kubectl may take over what its own client-side apply has set.
    if (own_.manager == kKubectl) {
      TakeFields(changed, LastAppliedFields(kind_, live_));
    }
    std::vector<FieldConflict> conflicts;
    for (const Entry& entry : entries) {
      if (entry.identity() == own_.identity()) continue;
      for (std::string& path :
           FieldPaths(CommonFields(entry.fields, changed))) {
        conflicts.push_back({OwnerText(entry), std::move(path)});
      }
    }
    return conflicts.empty() ? absl::OkStatus() : ConflictError(conflicts);
  }

  const Kind& kind_;
  const Json& live_;
  const ApplyRequest& request_;
  const std::string& now_;
  Entry own_;
};

}  // namespace

std::string ManagerName(std::string_view field_manager,
                        std::string_view user_agent) {
  if (!field_manager.empty()) return std::string(field_manager);
  std::string out;
  for (char c : user_agent.substr(0, user_agent.find('/'))) {
    if (absl::ascii_isprint(static_cast<unsigned char>(c))) out += c;
    if (out.size() == kMaxManagerName) break;
  }
  return out.empty() ? "unknown" : out;
}

Json TrackUpdate(const Kind& kind, const Json& before, const Json& after,
                 const Json& sent, const FieldManager& manager,
                 const std::string& now) {
  if (kind.schema == nullptr ||
      (manager.subresource.empty() && IsReset(sent))) {
    return Json::array();
  }
  Entries entries = EntriesToUpdate(before, sent, manager.subresource);
  bool exists = !Text(before, {"metadata", "uid"}).empty();
  if (entries.empty() && exists) return Json::array();
  FieldChanges changes =
      TrackedChanges(kind, manager.subresource, before, after);
  if (manager.subresource == "scale" &&
      Get(after, {"spec", "replicas"}) == 0) {
    // A Scale leaves out a zero, and so nobody has it.
    AddFields(changes.removed, changes.changed);
    changes.changed = FieldSet::object();
  }
  if (!changes.changed.empty() || !changes.removed.empty()) {
    for (Entry& entry : entries) {
      TakeFields(entry.fields, changes.changed);
      TakeFields(entry.fields, changes.removed);
    }
    std::erase_if(entries, [](const Entry& entry) {
      return entry.fields.empty();
    });
  }
  if (!changes.changed.empty()) {
    // What comes by way of a Scale has no time: recorded so.
    Entry own{manager.name, kUpdate, kind.resource.ApiVersion(),
              manager.subresource,
              manager.subresource == "scale" ? std::string() : now,
              std::move(changes.changed)};
    if (Entry* former = FindEntry(entries, own)) {
      AddFields(former->fields, own.fields);
      former->time = own.time;
    } else {
      entries.push_back(std::move(own));
    }
    CapUpdaters(entries);
  }
  return EntriesJson(std::move(entries));
}

absl::StatusOr<Json> ApplyConfig(const Kind& kind, const Json* live,
                                 const ApplyRequest& request,
                                 const std::string& now) {
  FL_RETURN_IF_ERROR(CheckConfig(kind, *request.config));
  if (live == nullptr) {
    return Applier(kind, Json::object(), request, now).Run({}, false);
  }
  Json bare = WithoutManagedFields(*live);
  Entries entries = ParseEntries(Get(*live, {"metadata", "managedFields"}))
                        .value_or(Entries());
  if (entries.empty()) {
    FieldChanges all = TrackedChanges(kind, request.manager.subresource,
                                      EmptyObject(*kind.schema), bare);
    if (!all.changed.empty()) {
      entries.push_back({kBeforeFirstApply, kUpdate,
                         kind.resource.ApiVersion(),
                         request.manager.subresource, now,
                         std::move(all.changed)});
    }
  }
  return Applier(kind, bare, request, now).Run(std::move(entries), true);
}

}  // namespace fairlead::api
