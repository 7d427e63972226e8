// SPDX-License-Identifier: Apache-2.0
#include "control/api/openapi.h"

#include <openssl/evp.h>

#include <memory>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "control/api/json_access.h"
#include "control/api/schema_set.h"
#include "control/api/usage_metrics.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// Rises when this file makes other documents of the same schemas.
constexpr std::string_view kFormat = "2";
constexpr std::string_view kMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.";
constexpr std::string_view kQuantityName =
    "io.k8s.apimachinery.pkg.api.resource.Quantity";
constexpr std::string_view kIntOrStringName =
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

constexpr std::string_view kRawExtensionName =
    "io.k8s.apimachinery.pkg.runtime.RawExtension";

std::string Ref(std::string_view name) {
  return StrCat("#/components/schemas/", name);
}
Json RefObject(std::string_view name) { return {{"$ref", Ref(name)}}; }

Json Parameter(const char* name, const char* type, const char* in = "query") {
  Json parameter = {{"name", name},
                    {"in", in},
                    {"schema", {{"type", type}, {"uniqueItems", true}}}};
  if (std::string_view(in) == "path") parameter["required"] = true;
  return parameter;
}

// Types as OpenAPI schemas; remembers which were used, so that the document
// holds those and no more.
class Components {
 public:
  explicit Components(const SchemaSet& schemas) : schemas_(schemas) {}

  Json Use(std::string_view name) {
    Add(name);
    return RefObject(name);
  }
  void AddList(const Kind& kind);
  void SetGvk(std::string_view name, const Json& gvks) {
    components_[std::string(name)]["x-kubernetes-group-version-kind"] = gvks;
  }
  // {"type": "object"} of a name that is no type of ours.
  Json UseOpaque(std::string_view name) {
    components_[std::string(name)] = {{"type", "object"}};
    return RefObject(name);
  }
  Json Take() { return std::move(components_); }

 private:
  void Add(std::string_view name);
  Json Element(const Type& type);
  Json FieldSchema(const Field& field);
  Json Special(std::string_view name, Json schema) {
    components_.emplace(std::string(name), std::move(schema));
    return RefObject(name);
  }

  const SchemaSet& schemas_;
  Json components_ = Json::object();
};

// A type where it stands alone: in a list, in a map, or wrapped by a field.
Json Components::Element(const Type& type) {
  switch (type.shape) {
    case Shape::kObject:
      return Use(type.name);
    case Shape::kMap:
      return {{"type", "object"},
              {"additionalProperties", Element(*type.element)}};
    case Shape::kList:
      return {{"type", "array"}, {"items", Element(*type.element)}};
    case Shape::kString:
      return {{"type", "string"}};
    case Shape::kInteger:
      return {{"type", "integer"}, {"format", type.name}};
    case Shape::kNumber:
      return {{"type", "number"}};
    case Shape::kBoolean:
      return {{"type", "boolean"}};
    case Shape::kBytes:
      return {{"type", "string"}, {"format", "byte"}};
    case Shape::kQuantity:
      return Special(kQuantityName,
                     {{"oneOf", {{{"type", "string"}}, {{"type", "number"}}}}});
    case Shape::kIntOrString:
      return Special(
          kIntOrStringName,
          {{"format", "int-or-string"},
           {"oneOf", {{{"type", "integer"}}, {{"type", "string"}}}}});
    case Shape::kTime:
      return Special(StrCat(kMeta, "Time"),
                     {{"type", "string"}, {"format", "date-time"}});
    case Shape::kMicroTime:
      return Special(StrCat(kMeta, "MicroTime"),
                     {{"type", "string"}, {"format", "date-time"}});
    case Shape::kAny:
      if (type.name == "fieldsV1") {
        return Special(StrCat(kMeta, "FieldsV1"), {{"type", "object"}});
      }
      if (type.name == "rawExtension") {
        return Special(kRawExtensionName, {{"type", "object"}});
      }
      return {{"type", "object"}};
  }
  return Json::object();
}

Json Components::FieldSchema(const Field& field) {
  Json schema = Element(*field.type);
  // References with more beside them are wrapped, as $ref hides its siblings.
  if (schema.contains("$ref")) {
    schema = {{"allOf", Json::array({std::move(schema)})}};
  }
  Shape shape = field.type->shape;
  if (!field.default_json.empty()) {
    schema["default"] = Json::parse(field.default_json, nullptr, false);
  } else if (field.presence == Presence::kAlways) {
    if (shape == Shape::kObject) {
      schema["default"] = Json::object();
    } else if (shape == Shape::kString) {
      schema["default"] = "";
    } else if (shape == Shape::kInteger) {
      schema["default"] = 0;
    } else if (shape == Shape::kBoolean) {
      schema["default"] = false;
    }
  }
  if (!field.one_of.empty()) {
    (shape == Shape::kList ? schema["items"] : schema)["enum"] = field.one_of;
  }
  if (field.patch_merge || field.patch_retain_keys) {
    schema["x-kubernetes-patch-strategy"] =
        !field.patch_merge         ? "retainKeys"
        : field.patch_retain_keys ? "merge,retainKeys"
                                  : "merge";
  }
  if (!field.merge_key.empty()) {
    schema["x-kubernetes-patch-merge-key"] = field.merge_key;
  }
  if (!field.list_type.empty()) {
    schema[shape == Shape::kList ? "x-kubernetes-list-type"
                                 : "x-kubernetes-map-type"] = field.list_type;
  }
  if (!field.list_map_keys.empty()) {
    schema["x-kubernetes-list-map-keys"] = field.list_map_keys;
  }
  return schema;
}

void Components::Add(std::string_view name) {
  std::string key(name);
  if (components_.contains(key)) return;
  components_[key] = {{"type", "object"}};
  const Type* type = schemas_.Find(name);
  if (type == nullptr) return;
  Json properties = Json::object();
  Json required = Json::array();
  for (const Field& field : type->fields) {
    properties[field.name] = FieldSchema(field);
    if (field.required) required.push_back(field.name);
  }
  Json& schema = components_[key];
  if (!properties.empty()) schema["properties"] = std::move(properties);
  if (!required.empty()) schema["required"] = std::move(required);
  if (type->atomic) schema["x-kubernetes-map-type"] = "atomic";
}

Json Gvk(const Kind& kind, std::string_view suffix = "") {
  return {{"group", kind.resource.group},
          {"version", kind.resource.version},
          {"kind", StrCat(kind.resource.kind, suffix)}};
}

void Components::AddList(const Kind& kind) {
  std::string list_meta = StrCat(kMeta, "ListMeta");
  Use(list_meta);
  components_[StrCat(kind.schema->name, "List")] = {
      {"type", "object"},
      {"required", {"items"}},
      {"properties",
       {{"apiVersion", {{"type", "string"}}},
        {"kind", {{"type", "string"}}},
        {"items",
         {{"type", "array"}, {"items", Use(kind.schema->name)}}},
        {"metadata",
         {{"default", Json::object()},
          {"allOf", Json::array({RefObject(list_meta)})}}}}},
      {"x-kubernetes-group-version-kind", Json::array({Gvk(kind, "List")})}};
}

// The paths of one group version.
class Paths {
 public:
  Paths(std::string prefix, Components* components)
      : prefix_(std::move(prefix)), components_(components) {
    std::string_view text = prefix_;
    text.remove_prefix(text.find('/', 1) + 1);  // "v1", "apps/v1"
    tag_ = text.find('/') == std::string_view::npos ? StrCat("core/", text)
                                                    : std::string(text);
    absl::StrReplaceAll({{"/", "_"}, {".", "_"}}, &tag_);
  }

  void AddKind(const Kind& kind);
  Json Take() { return std::move(paths_); }

 private:
  // What an operation answers: `name` as JSON.
  Json Responses(std::string_view name,
                 std::initializer_list<const char*> codes, bool stream = false);
  Json Operation(const char* action, const Json& gvk, Json responses);
  Json Body(std::string_view name, bool required);
  Json WriteOperation(const char* action, const Json& gvk,
                      std::string_view name,
                      std::initializer_list<const char*> codes);
  Json PatchOperation(const Json& gvk, std::string_view name);
  Json DeleteOperation(const Json& gvk, std::string_view answer);
  void AddCollection(const Kind& kind, const Json& gvk);
  void AddObject(const Kind& kind, const Json& gvk);
  void AddSubresources(const Kind& kind, const Json& gvk);
  std::string Base(const Kind& kind) const {
    return StrCat(prefix_,
                  kind.resource.namespaced ? "/namespaces/{namespace}" : "",
                  "/", kind.resource.plural);
  }
  static Json PathParameters(const Kind& kind, bool name) {
    Json out = Json::array();
    if (name) out.push_back(Parameter("name", "string", "path"));
    if (kind.resource.namespaced) {
      out.push_back(Parameter("namespace", "string", "path"));
    }
    out.push_back(Parameter("pretty", "string"));
    return out;
  }

  std::string prefix_;  // "/apis/apps/v1"
  std::string tag_;
  Components* components_;
  Json paths_ = Json::object();
};

Json ListParameters() {
  return Json::array({Parameter("allowWatchBookmarks", "boolean"),
                      Parameter("continue", "string"),
                      Parameter("fieldSelector", "string"),
                      Parameter("labelSelector", "string"),
                      Parameter("limit", "integer"),
                      Parameter("resourceVersion", "string"),
                      Parameter("resourceVersionMatch", "string"),
                      Parameter("sendInitialEvents", "boolean"),
                      Parameter("timeoutSeconds", "integer"),
                      Parameter("watch", "boolean")});
}

Json DeleteParameters() {
  return Json::array({Parameter("dryRun", "string"),
                      Parameter("gracePeriodSeconds", "integer"),
                      Parameter("orphanDependents", "boolean"),
                      Parameter("propagationPolicy", "string")});
}

Json WriteParameters() {
  return Json::array({Parameter("dryRun", "string"),
                      Parameter("fieldManager", "string"),
                      Parameter("fieldValidation", "string")});
}

Json Paths::Responses(std::string_view name,
                      std::initializer_list<const char*> codes, bool stream) {
  Json schema = {{"schema", RefObject(name)}};
  Json content = {{"application/json", schema}};
  if (stream) content["application/json;stream=watch"] = schema;
  Json out = Json::object();
  for (const char* code : codes) out[code] = {{"content", content}};
  return out;
}

Json Paths::Operation(const char* action, const Json& gvk, Json responses) {
  return {{"tags", {tag_}},
          {"responses", std::move(responses)},
          {"x-kubernetes-action", action},
          {"x-kubernetes-group-version-kind", gvk}};
}

Json Paths::Body(std::string_view name, bool required) {
  Json body = {{"content", {{"*/*", {{"schema", components_->Use(name)}}}}}};
  if (required) body["required"] = true;
  return body;
}

Json Paths::WriteOperation(const char* action, const Json& gvk,
                           std::string_view name,
                           std::initializer_list<const char*> codes) {
  Json operation = Operation(action, gvk, Responses(name, codes));
  operation["parameters"] = WriteParameters();
  operation["requestBody"] = Body(name, true);
  return operation;
}

Json Paths::PatchOperation(const Json& gvk, std::string_view name) {
  Json patch = {
      {"schema", components_->UseOpaque(StrCat(kMeta, "Patch"))}};
  Json operation = Operation("patch", gvk, Responses(name, {"200", "201"}));
  operation["parameters"] = WriteParameters();
  operation["parameters"].push_back(Parameter("force", "boolean"));
  operation["requestBody"] = {
      {"required", true},
      {"content",
       {{"application/json-patch+json", patch},
        {"application/merge-patch+json", patch},
        {"application/strategic-merge-patch+json", patch}}}};
  return operation;
}

Json Paths::DeleteOperation(const Json& gvk, std::string_view answer) {
  Json operation =
      Operation("delete", gvk, Responses(answer, {"200", "202"}));
  operation["parameters"] = DeleteParameters();
  operation["requestBody"] = Body(StrCat(kMeta, "DeleteOptions"), false);
  return operation;
}

void Paths::AddCollection(const Kind& kind, const Json& gvk) {
  std::string list = StrCat(kind.schema->name, "List");
  Json get = Operation("list", gvk, Responses(list, {"200"}, true));
  get["parameters"] = ListParameters();
  Json& path = paths_[Base(kind)];
  path["get"] = get;
  if (!IsUsageMetrics(kind)) {
    path["post"] =
        WriteOperation("post", gvk, kind.schema->name, {"200", "201", "202"});
  }
  if (!kind.no_delete_collection && !IsUsageMetrics(kind)) {
    Json remove = DeleteOperation(gvk, StrCat(kMeta, "Status"));
    remove["x-kubernetes-action"] = "deletecollection";
    for (Json& parameter : ListParameters()) {
      remove["parameters"].push_back(std::move(parameter));
    }
    path["delete"] = std::move(remove);
  }
  path["parameters"] = PathParameters(kind, false);
  if (kind.resource.namespaced) {
    Json& all = paths_[StrCat(prefix_, "/", kind.resource.plural)];
    all["parameters"] = ListParameters();
    all["parameters"].push_back(Parameter("pretty", "string"));
    get.erase("parameters");
    all["get"] = std::move(get);
  }
}

void Paths::AddObject(const Kind& kind, const Json& gvk) {
  const std::string& name = kind.schema->name;
  Json& path = paths_[StrCat(Base(kind), "/{name}")];
  path["get"] = Operation("get", gvk, Responses(name, {"200"}));
  if (!IsUsageMetrics(kind)) {
    path["put"] = WriteOperation("put", gvk, name, {"200", "201"});
    path["patch"] = PatchOperation(gvk, name);
    path["delete"] = DeleteOperation(
        gvk, kind.delete_returns_object ? name : StrCat(kMeta, "Status"));
  }
  path["parameters"] = PathParameters(kind, true);
}

void Paths::AddSubresources(const Kind& kind, const Json& gvk) {
  auto add = [&](std::string_view sub, const Json& sub_gvk,
                 const std::string& type) {
    components_->Use(type);
    Json& path = paths_[StrCat(Base(kind), "/{name}/", sub)];
    path["get"] = Operation("get", sub_gvk, Responses(type, {"200"}));
    path["put"] = WriteOperation("put", sub_gvk, type, {"200", "201"});
    path["patch"] = PatchOperation(sub_gvk, type);
    path["parameters"] = PathParameters(kind, true);
  };
  if (kind.has_status) add("status", gvk, kind.schema->name);
  if (kind.has_scale) {
    Json scale = {
        {"group", "autoscaling"}, {"version", "v1"}, {"kind", "Scale"}};
    add("scale", scale, "io.k8s.api.autoscaling.v1.Scale");
    components_->SetGvk("io.k8s.api.autoscaling.v1.Scale",
                        Json::array({scale}));
  }
  for (const Subresource& sub : kind.subresources) {
    Json sub_gvk = gvk;
    sub_gvk["kind"] = sub.kind;
    std::string package(kind.schema->name);
    package.resize(package.rfind('.') + 1);
    if (!sub.version.empty()) {
      sub_gvk["group"] = sub.group;
      sub_gvk["version"] = sub.version;
      // "authentication.k8s.io" is the package authentication.
      package = StrCat("io.k8s.api.",
                       std::string_view(sub.group).substr(
                           0, sub.group.find('.')),
                       ".", sub.version, ".");
    }
    // A stream: there is no body that could have a type.
    if (sub.kind.ends_with("Options")) continue;
    std::string type = package + sub.kind;
    Json& path = paths_[StrCat(Base(kind), "/{name}/", sub.name)];
    for (const std::string& verb : sub.verbs) {
      if (verb == "get") {
        path["get"] = Operation("get", sub_gvk, Responses(type, {"200"}));
        continue;
      }
      const char* method = verb == "create" ? "post" : "put";
      path[method] = WriteOperation(method, sub_gvk, type, {"200", "201"});
    }
    components_->SetGvk(type, Json::array({sub_gvk}));
    path["parameters"] = PathParameters(kind, true);
  }
}

void Paths::AddKind(const Kind& kind) {
  Json gvk = Gvk(kind);
  components_->Use(kind.schema->name);
  components_->SetGvk(kind.schema->name, Json::array({gvk}));
  if (kind.review) {
    paths_[Base(kind)]["post"] = WriteOperation("post", gvk, kind.schema->name,
                                                {"200", "201", "202"});
    return;
  }
  components_->AddList(kind);
  AddCollection(kind, gvk);
  AddObject(kind, gvk);
  AddSubresources(kind, gvk);
}

// What a DELETE takes, and what it and every error answer.
void AddDeletion(std::string_view group, std::string_view version,
                 Components* components) {
  std::string status = StrCat(kMeta, "Status");
  components->Use(status);
  components->SetGvk(status, Json::array({{{"group", ""},
                                           {"version", "v1"},
                                           {"kind", "Status"}}}));
  std::string options = StrCat(kMeta, "DeleteOptions");
  Json options_gvks = Json::array(
      {{{"group", ""}, {"version", "v1"}, {"kind", "DeleteOptions"}}});
  if (!group.empty()) {
    options_gvks.push_back(
        {{"group", group}, {"version", version}, {"kind", "DeleteOptions"}});
  }
  components->Use(options);
  components->SetGvk(options, options_gvks);
}

}  // namespace

std::vector<std::string> VerbsOf(const Kind& kind) {
  if (kind.review) return {"create"};
  if (IsUsageMetrics(kind)) return {"get", "list"};
  std::vector<std::string> verbs = {"create", "delete"};
  if (!kind.no_delete_collection) verbs.push_back("deletecollection");
  for (const char* verb : {"get", "list", "patch", "update", "watch"}) {
    verbs.push_back(verb);
  }
  return verbs;
}

std::string OpenApiDocument(const KindTable& kinds, std::string_view group,
                            std::string_view version) {
  auto schemas = SchemaSet::Parse(EmbeddedSchemas());
  if (!schemas.ok()) return "{}";
  Components components(**schemas);
  std::string prefix = group.empty() ? StrCat("/api/", version)
                                     : StrCat("/apis/", group, "/", version);
  Paths paths(prefix, &components);
  bool has_objects = false;  // that are stored
  for (const Kind& kind : kinds.kinds()) {
    if (kind.resource.group == group && kind.resource.version == version) {
      paths.AddKind(kind);
      has_objects |= !kind.review && !IsUsageMetrics(kind);
    }
  }
  if (has_objects) AddDeletion(group, version, &components);
  Json document = {{"openapi", "3.0.0"},
                   {"info", {{"title", "Kubernetes"}, {"version", "1.36"}}},
                   {"paths", paths.Take()},
                   {"components", {{"schemas", components.Take()}}}};
  return document.dump();
}

std::string OpenApiHash(const KindTable& kinds) {
  std::string all(kFormat);
  for (std::string_view text : EmbeddedSchemas()) all += text;
  for (const Kind& kind : kinds.kinds()) {
    StrAppend(&all, "|", kind.resource.ApiVersion(), "/", kind.resource.plural,
              kind.has_status ? "+status" : "", kind.has_scale ? "+scale" : "",
              kind.no_delete_collection ? "" : "+deletecollection");
    for (const Subresource& sub : kind.subresources) {
      StrAppend(&all, "+", sub.name);
    }
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(all.data(), all.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(digest), size)));
}

}  // namespace fairlead::api
