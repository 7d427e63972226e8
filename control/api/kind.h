// SPDX-License-Identifier: Apache-2.0
// A kind of object is a row of data; verbs.h serves every row alike.
//
// Threads: rows are immutable once the server has started.
#ifndef FAIRLEAD_CONTROL_API_KIND_H_
#define FAIRLEAD_CONTROL_API_KIND_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "control/api/schema.h"
#include "userspace/kube/resource.h"

namespace fairlead::api {

using Json = nlohmann::json;
class SchemaSet;

// One cause of a 422. `reason` is the API's word: "FieldValueInvalid",
// "FieldValueRequired", "FieldValueNotSupported", "FieldValueDuplicate",
// "FieldValueForbidden", "FieldValueTooLong", "FieldValueTypeInvalid".
struct FieldError {
  std::string reason;
  std::string field;    // "spec.ports[0].port"
  std::string message;  // "Invalid value: 70000: must be between 1 and 65535"
};
using FieldErrors = std::vector<FieldError>;

// A column of the kind's Table.
struct Column {
  std::string name;
  std::string type;    // "string", "integer", "date"
  std::string format;  // "name" or ""
  int priority = 0;    // > 0: only with -o wide
};

// A path below an object that is neither its status nor its scale.
struct Subresource {
  std::string name;   // "binding"
  std::string group;  // of what is sent and answered; "" with version "": the
  std::string version;  // owner's
  std::string kind;
  std::vector<std::string> verbs;
};

// What a write is: decides which parts of the body count.
enum class WriteVerb { kCreate, kUpdate, kUpdateStatus };

struct User;       // identity.h
class Authorizer;  // identity.h

struct Kind {
  kube::Resource resource;
  std::string singular;
  std::vector<std::string> short_names;
  std::vector<std::string> categories;  // "all"
  const Type* schema = nullptr;
  bool has_status = false;       // the /status sub-resource
  bool has_scale = false;        // the /scale sub-resource
  std::vector<Subresource> subresources;  // others, for discovery
  bool has_generation = false;   // metadata.generation rises with the spec
  bool put_creates = false;      // PUT to an absent name creates it
  bool graceful_deletion = false;   // Pod: DELETE waits for its kubelet
  bool delete_returns_object = false;  // DELETE answers the object, not Status
  bool no_delete_collection = false;   // DELETE of the collection is a 405

  std::vector<Column> columns;
  // A table row's cells, one for each column.
  std::function<std::vector<Json>(const Json& object, absl::Time now)> cells;
  // Selectable fields besides metadata.name and metadata.namespace.
  std::vector<std::string> selectable_fields;  // "spec.nodeName"
  std::function<std::string(const Json& object, std::string_view field)>
      field_value;

  // In this order on every write. `before` is null for kCreate.
  // 1. Reset what the verb may not set (status on create/update, spec on
  //    status) and keep what an update may leave out (clusterIP).
  std::function<void(WriteVerb, Json& object, const Json* before)> prepare;
  // 2. Fill in defaults. Idempotent.
  std::function<void(Json& object)> set_defaults;
  // 3. All errors at once, empty when fine.
  std::function<FieldErrors(const Json& object, const Json* before)> validate;
  // Texts for `Warning:` headers.
  std::function<std::vector<std::string>(const Json& object,
                                         const Json* before)>
      warnings;

  // Set for a kind that is a question: POST is answered with the object as
  // this completes it, nothing is stored, and there is no other verb.
  std::function<void(const Authorizer& authorizer, const User& user,
                     absl::Time now, Json& object)>
      review;
};

// Claims that span objects (cluster IPs, node ports), made inside a write.
// Called on the API server's thread, after set_defaults and before validate.
class Admission {
 public:
  virtual ~Admission() = default;
  // May change `object` (fill in allocations) or return field errors, and
  // remembers a claim until Committed or Aborted is called for it.
  virtual FieldErrors Admit(const Kind& kind, WriteVerb verb, bool dry_run,
                            Json& object, const Json* before) = 0;
  // The write happened (`after` is null for a deletion) ...
  virtual void Committed(const Kind& kind, const Json* before,
                         const Json* after) = 0;
  // ... or it did not.
  virtual void Aborted(const Kind& kind, const Json& object,
                       const Json* before) = 0;
  // At start, for every stored object, before any Admit.
  virtual void Restore(const Kind& kind, const Json& object) = 0;
};

// All served kinds; made once at start (kinds.h).
class KindTable {
 public:
  // `schemas`: of the rows and of what verbs send and answer (Status,
  // options); null in tables of tests.
  explicit KindTable(std::vector<Kind> kinds,
                     std::shared_ptr<const SchemaSet> schemas = nullptr)
      : kinds_(std::move(kinds)), schemas_(std::move(schemas)) {}
  const SchemaSet* schemas() const { return schemas_.get(); }
  const std::vector<Kind>& kinds() const { return kinds_; }
  // Null when not served.
  const Kind* Find(std::string_view group, std::string_view version,
                   std::string_view plural) const;
  const Kind* FindByKind(std::string_view api_version,
                         std::string_view kind) const;

 private:
  std::vector<Kind> kinds_;
  std::shared_ptr<const SchemaSet> schemas_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_KIND_H_
