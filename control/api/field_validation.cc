// SPDX-License-Identifier: Apache-2.0
#include "control/api/field_validation.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "control/api/api_status.h"
#include "control/api/go_format.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/yaml.h"

namespace fairlead::api {
namespace {

// "io.k8s.api.core.v1.ServicePort" -> "ServicePort"
std::string_view ShortName(const Type& type) {
  std::string_view name = type.name;
  return name.substr(name.rfind('.') + 1);
}

// What the API's decoder calls the type.
std::string DecoderTypeName(const Type& type) {
  switch (type.shape) {
    case Shape::kObject: {
      std::string_view name = type.name;
      size_t dot = name.rfind('.');
      size_t before = dot == name.npos || dot == 0 ? name.npos
                                                   : name.rfind('.', dot - 1);
      return std::string(before == name.npos ? name : name.substr(before + 1));
    }
    case Shape::kMap:
      return StrCat("map[string]", type.element == nullptr
                                       ? std::string("string")
                                       : DecoderTypeName(*type.element));
    case Shape::kList:
      return StrCat("[]", type.element == nullptr
                              ? std::string("string")
                              : DecoderTypeName(*type.element));
    case Shape::kInteger:
      return type.name.empty() ? "int32" : type.name;
    case Shape::kNumber: return "float64";
    case Shape::kBoolean: return "bool";
    case Shape::kBytes: return "[]uint8";
    default: return "string";
  }
}

class Conformer {
 public:
  explicit Conformer(std::vector<std::string>* problems)
      : problems_(problems) {}

  absl::Status Object(const Type& type, Json& value) {
    if (!value.is_object()) return Mismatch(value, type);
    const Type* outer = std::exchange(struct_, &type);
    for (auto it = value.begin(); it != value.end();) {
      const Field* field = type.Find(it.key());
      if (field == nullptr) {
        Step step(this, ".", it.key());
        problems_->push_back(StrCat("unknown field ", Quote(path_)));
        it = value.erase(it);
        continue;
      }
      if (it->is_null()) {
        it = value.erase(it);
        continue;
      }
      plain_.push_back(it.key());
      if (field->type != nullptr) {
        Step step(this, ".", it.key());
        FL_RETURN_IF_ERROR(Value(*field->type, *it));
      }
      plain_.pop_back();
      ++it;
    }
    struct_ = outer;
    return absl::OkStatus();
  }

 private:
  // One step further down in path_, as long as it lives.
  class Step {
   public:
    Step(Conformer* conformer, std::string_view separator,
         std::string_view name)
        : path_(conformer->path_), before_(path_.size()) {
      if (before_ > 0) path_ += separator;
      path_ += name;
    }
    ~Step() { path_.resize(before_); }

   private:
    std::string& path_;
    const size_t before_;
  };

  absl::Status Value(const Type& type, Json& value) {
    switch (type.shape) {
      case Shape::kObject:
        return Object(type, value);
      case Shape::kMap:
        return Map(type, value);
      case Shape::kList:
        return List(type, value);
      case Shape::kAny:
        return absl::OkStatus();
      default:
        return Scalar(type, value);
    }
  }

  absl::Status Map(const Type& type, Json& value) {
    if (!value.is_object()) return Mismatch(value, type);
    if (type.element == nullptr) return absl::OkStatus();
    for (auto it = value.begin(); it != value.end(); ++it) {
      ZeroForNull(*type.element, *it);
      Step step(this, ".", it.key());
      FL_RETURN_IF_ERROR(Value(*type.element, *it));
    }
    return absl::OkStatus();
  }

  absl::Status List(const Type& type, Json& value) {
    if (!value.is_array()) return Mismatch(value, type);
    if (type.element == nullptr) return absl::OkStatus();
    for (size_t i = 0; i < value.size(); ++i) {
      ZeroForNull(*type.element, value[i]);
      Step step(this, "", StrCat("[", i, "]"));
      FL_RETURN_IF_ERROR(Value(*type.element, value[i]));
    }
    return absl::OkStatus();
  }

  // A null in a map or list is the element's zero value to the API's decoder.
  void ZeroForNull(const Type& type, Json& value) {
    if (!value.is_null()) return;
    switch (type.shape) {
      case Shape::kObject:
      case Shape::kMap: value = Json::object(); break;
      case Shape::kList: value = Json::array(); break;
      case Shape::kInteger: value = 0; break;
      case Shape::kBoolean: value = false; break;
      case Shape::kString:
      case Shape::kBytes: value = ""; break;
      default: break;
    }
  }

  absl::Status Scalar(const Type& type, Json& value) {
    switch (type.shape) {
      case Shape::kString:
        return value.is_string() ? absl::OkStatus() : Mismatch(value, type);
      case Shape::kBoolean:
        return value.is_boolean() ? absl::OkStatus() : Mismatch(value, type);
      case Shape::kNumber:
        return value.is_number() ? absl::OkStatus() : Mismatch(value, type);
      case Shape::kInteger:
        return Integer(type, value);
      case Shape::kBytes: {
        std::string bytes;
        if (!value.is_string()) return Mismatch(value, type);
        if (!absl::Base64Unescape(value.get_ref<const std::string&>(),
                                  &bytes)) {
          return absl::InvalidArgumentError(
              "illegal base64 data at input byte 0");
        }
        return absl::OkStatus();
      }
      case Shape::kQuantity:
        if (value.is_number()) value = value.dump();
        return value.is_string() ? absl::OkStatus() : Mismatch(value, type);
      case Shape::kIntOrString:
        if (value.is_number_integer() || value.is_string()) {
          return absl::OkStatus();
        }
        return Mismatch(value, type);
      case Shape::kTime:
      case Shape::kMicroTime:
        return Time(value, type);
      default:
        return absl::OkStatus();
    }
  }

  absl::Status Integer(const Type& type, Json& value) {
    if (value.is_number_float()) {
      double number = value.get<double>();
      if (number != std::trunc(number) || std::abs(number) > 1e15) {
        return absl::InvalidArgumentError(StrCat(
            "json: cannot unmarshal number ", value.dump(), " into Go struct ",
            Where(), " of type ", DecoderTypeName(type)));
      }
      value = static_cast<int64_t>(number);
    }
    if (!value.is_number_integer()) return Mismatch(value, type);
    bool narrow = type.name != "int64";
    bool fits = value.is_number_unsigned()
                    ? value.get<uint64_t>() <=
                          (narrow ? uint64_t{INT32_MAX} : uint64_t{INT64_MAX})
                    : !narrow || value.get<int64_t>() >= INT32_MIN;
    if (fits) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat("json: cannot unmarshal number ", value.dump(),
               " into Go struct ", Where(), " of type ",
               DecoderTypeName(type)));
  }

  absl::Status Time(const Json& value, const Type& type) {
    if (!value.is_string()) return Mismatch(value, type);
    const std::string& text = value.get_ref<const std::string&>();
    absl::Time time;
    std::string error;
    if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
      return absl::OkStatus();
    }
    const char* layout = type.shape == Shape::kMicroTime
                             ? "2006-01-02T15:04:05.000000Z07:00"
                             : "2006-01-02T15:04:05Z07:00";
    return absl::InvalidArgumentError(
        StrCat("parsing time ", Quote(text), " as ", Quote(layout),
               ": cannot parse ", Quote(text), " as \"2006\""));
  }

  // "field ServicePort.spec.ports.port": the last struct, then the path
  // without indices.
  std::string Where() const {
    std::string out =
        StrCat("field ", struct_ == nullptr ? "" : ShortName(*struct_));
    for (std::string_view name : plain_) StrAppend(&out, ".", name);
    if (plain_.empty()) out += '.';
    return out;
  }

  absl::Status Mismatch(const Json& value, const Type& type) {
    return absl::InvalidArgumentError(
        StrCat("json: cannot unmarshal ", JsonTypeName(value),
               " into Go struct ", Where(), " of type ",
               DecoderTypeName(type)));
  }

  std::vector<std::string>* problems_;
  std::string path_;  // "spec.ports[0].port"
  std::vector<std::string_view> plain_;  // its names, which are in the object
  const Type* struct_ = nullptr;
};

// Follows keys and indices; sees each key, twice when it is there twice.
class DuplicateFinder : public nlohmann::json_sax<Json> {
 public:
  std::vector<std::string> found;

  bool null() override { return Scalar(); }
  bool boolean(bool) override { return Scalar(); }
  bool number_integer(number_integer_t) override { return Scalar(); }
  bool number_unsigned(number_unsigned_t) override { return Scalar(); }
  bool number_float(number_float_t, const string_t&) override {
    return Scalar();
  }
  bool string(string_t&) override { return Scalar(); }
  bool binary(binary_t&) override { return Scalar(); }
  bool start_object(std::size_t) override {
    stack_.push_back({false, 0, {}, ""});
    return true;
  }
  bool key(string_t& name) override {
    Level& level = stack_.back();
    level.key = name;
    if (!level.seen.insert(name).second) {
      found.push_back(StrCat("duplicate field ", Quote(Path())));
    }
    return true;
  }
  bool end_object() override {
    stack_.pop_back();
    return Scalar();
  }
  bool start_array(std::size_t) override {
    stack_.push_back({true, 0, {}, ""});
    return true;
  }
  bool end_array() override { return end_object(); }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  struct Level {
    bool list;
    size_t index;
    std::set<std::string> seen;
    std::string key;
  };
  // A value ended: the enclosing list moves on.
  bool Scalar() {
    if (!stack_.empty() && stack_.back().list) ++stack_.back().index;
    return true;
  }
  std::string Path() const {
    std::string path;
    for (const Level& level : stack_) {
      if (level.list) {
        StrAppend(&path, "[", level.index, "]");
      } else {
        StrAppend(&path, path.empty() ? "" : ".", level.key);
      }
    }
    return path;
  }
  std::vector<Level> stack_;
};

std::string Excerpt(std::string_view body) {
  if (body.empty()) return "<empty>";
  if (body.front() != '{') {
    std::string hex = absl::BytesToHexString(Absl(body.substr(0, 30)));
    return body.size() > 30 ? StrCat(hex, " ...") : hex;
  }
  return body.size() > 30 ? StrCat(body.substr(0, 30), " ...")
                          : std::string(body);
}

// The media type without parameters, in lower case.
std::string MediaType(std::string_view content_type) {
  std::string type = absl::AsciiStrToLower(
      Absl(content_type.substr(0, content_type.find(';'))));
  absl::StripAsciiWhitespace(&type);
  return type;
}

// `repeats`: as of ParseJson.
absl::StatusOr<Json> ParseBody(std::string_view content_type,
                               std::string_view body,
                               std::string_view expected_kind, bool* repeats) {
  *repeats = true;
  std::string type = MediaType(content_type);
  auto unrecognized = [&](std::string_view problem) {
    return BadRequest(StrCat(
        "the object provided is unrecognized (must be of type ", expected_kind,
        "): couldn't get version/kind; json parse error: ", problem, " (",
        Excerpt(body), ")"));
  };
  if (type == "application/yaml" || type == "text/yaml") {
    absl::StatusOr<std::vector<Json>> documents = kube::JsonFromYaml(body);
    if (!documents.ok()) {
      return BadRequest(StrCat("error decoding YAML: ",
                               documents.status().message()));
    }
    if (documents->size() != 1 || !documents->front().is_object()) {
      return unrecognized("not one YAML object");
    }
    return std::move(documents->front());
  }
  if (!type.empty() && type != "application/json") {
    return UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media "
        "types include: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf");
  }
  absl::StatusOr<Json> json = ParseJson(body, repeats);
  if (!json.ok()) return unrecognized(Std(json.status().message()));
  if (!json->is_object()) {
    return unrecognized(StrCat(
        "json: cannot unmarshal ", JsonTypeName(*json),
        " into Go value of type struct { APIVersion string "
        "\"json:\\\"apiVersion,omitempty\\\"\"; Kind string "
        "\"json:\\\"kind,omitempty\\\"\" }"));
  }
  return json;
}

std::string TextMember(const Json& object, const char* name) {
  auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// "core.Service", "apps.Deployment": how the server names its internal types.
std::string InternalName(const Kind& kind) {
  std::string_view group = kind.resource.group;
  return StrCat(group.empty() ? "core" : group.substr(0, group.find('.')), ".",
                kind.resource.kind);
}

absl::Status CheckKind(const Kind& kind, const KindTable& kinds,
                       const Json& object) {
  std::string version = TextMember(object, "apiVersion");
  std::string name = TextMember(object, "kind");
  if (version == kind.resource.ApiVersion() && name == kind.resource.kind) {
    return absl::OkStatus();
  }
  std::string prefix = StrCat(name, " in version ",
                              Quote(kind.resource.version),
                              " cannot be handled as a ", kind.resource.kind,
                              ": ");
  if (kinds.FindByKind(version, name) != nullptr) {
    return BadRequest(StrCat(prefix, "converting (",
                             version.substr(version.find('/') + 1), ".", name,
                             ") to (", InternalName(kind),
                             "): unknown conversion"));
  }
  return BadRequest(StrCat(
      prefix, "no kind ", Quote(name), " is registered for version ",
      Quote(version),
      " in scheme \"kubernetes/pkg/api/legacyscheme/scheme.go:30\""));
}

}  // namespace

absl::Status ConformToSchema(const Type* type, Json& object,
                             std::vector<std::string>* problems) {
  if (type == nullptr) return absl::OkStatus();
  return Conformer(problems).Object(*type, object);
}

std::vector<std::string> DuplicateFields(std::string_view text) {
  DuplicateFinder finder;
  Json::sax_parse(text, &finder);
  return std::move(finder.found);
}

absl::StatusOr<Decoded> DecodeObject(const Kind& kind, const KindTable& kinds,
                                     std::string_view content_type,
                                     std::string_view body,
                                     FieldValidation validation) {
  Decoded out;
  bool repeats = false;
  FL_ASSIGN_OR_RETURN(out.object, ParseBody(content_type, body,
                                            kind.resource.kind, &repeats));
  if (!out.object.contains("apiVersion")) {
    out.object["apiVersion"] = kind.resource.ApiVersion();
  }
  if (!out.object.contains("kind")) out.object["kind"] = kind.resource.kind;
  std::string prefix = StrCat(
      TextMember(out.object, "kind"), " in version ",
      Quote(kind.resource.version), " cannot be handled as a ",
      kind.resource.kind, ": ");
  std::vector<std::string> problems;
  if (repeats && validation != FieldValidation::kIgnore &&
      body.starts_with('{')) {
    problems = DuplicateFields(body);
  }
  absl::Status conforms = ConformToSchema(kind.schema, out.object, &problems);
  if (!conforms.ok()) {
    return BadRequest(StrCat(prefix, conforms.message()));
  }
  FL_RETURN_IF_ERROR(CheckKind(kind, kinds, out.object));
  if (validation == FieldValidation::kStrict && !problems.empty()) {
    return BadRequest(StrCat(prefix, "strict decoding error: ",
                             absl::StrJoin(problems, ", ")));
  }
  if (validation == FieldValidation::kWarn) out.warnings = std::move(problems);
  return out;
}

absl::StatusOr<Json> DecodeAny(std::string_view content_type,
                               std::string_view body,
                               std::string_view expected_kind) {
  if (body.empty()) return Json::object();
  bool unused = false;
  return ParseBody(content_type, body, expected_kind, &unused);
}

}  // namespace fairlead::api
