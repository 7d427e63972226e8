// SPDX-License-Identifier: Apache-2.0
// metadata, labels and label selectors.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr size_t kMaxAnnotationBytes = 256 << 10;

Messages CheckName(std::string_view name, NameRule rule) {
  switch (rule) {
    case NameRule::kLabel:
      return CheckDnsLabel(name);
    case NameRule::kSubdomain:
      return CheckDnsSubdomain(name);
    case NameRule::kPathSegment:
      return CheckPathSegment(name);
    case NameRule::kAny:
      break;
  }
  return {};
}

void ValidateName(const Json& metadata, NameRule rule,
                  FieldErrorList* errors) {
  std::string prefix(Text(metadata, "generateName"));
  if (!prefix.empty()) {
    // More will follow the prefix, so it may end with a dash.
    std::string example = prefix;
    if (example.size() > 1 && example.back() == '-') example.back() = 'a';
    errors->InvalidEach("metadata.generateName", prefix,
                        CheckName(example, rule));
  }
  std::string_view name = Text(metadata, "name");
  if (name.empty()) {
    errors->Required("metadata.name", "name or generateName is required");
    return;
  }
  if (name == "." || name == "..") {
    errors->Invalid("metadata.name", name, StrCat("may not be '", name, "'"));
    return;
  }
  if (name.find_first_of("/%") != std::string_view::npos &&
      rule == NameRule::kAny) {
    errors->Invalid("metadata.name", name,
                    name.find('/') != std::string_view::npos
                        ? "may not contain '/'"
                        : "may not contain '%'");
    return;
  }
  errors->InvalidEach("metadata.name", name, CheckName(name, rule));
}

void ValidateAnnotations(const Json& annotations, FieldErrorList* errors) {
  size_t total = 0;
  for (const auto& [key, value] : Map(annotations).items()) {
    errors->InvalidEach("metadata.annotations", key,
                        CheckQualifiedName(absl::AsciiStrToLower(key)));
    total += key.size() + Text(value).size();
  }
  if (total > kMaxAnnotationBytes) {
    errors->TooLong("metadata.annotations", kMaxAnnotationBytes);
  }
}

void ValidateOwners(const Json& owners, FieldErrorList* errors) {
  const Json* controller = nullptr;
  for (size_t i = 0; i < List(owners).size(); ++i) {
    const Json& owner = owners[i];
    std::string field = At("metadata.ownerReferences", i);
    auto must = [&](const char* key, std::string_view message) {
      if (Text(owner, key).empty()) {
        errors->Invalid(Child(field, key), "", message);
      }
    };
    must("apiVersion", "version must not be empty");
    must("kind", "must not be empty");
    must("name", "must not be empty");
    must("uid", "must not be empty");
    if (!IsTrue(owner, "controller")) continue;
    if (controller != nullptr) {
      errors->Invalid(
          "metadata.ownerReferences", owners,
          StrCat("Only one reference can have Controller set to true. Found "
                 "\"true\" in references for ",
                 Text(*controller, "name"), " and ", Text(owner, "name")));
    }
    controller = &owner;
  }
}

void ValidateFinalizers(const Json& metadata, const Json* before,
                        FieldErrorList* errors) {
  const Json& finalizers = List(metadata, "finalizers");
  for (const Json& each : finalizers) {
    std::string_view name = Text(each);
    errors->InvalidEach("metadata.finalizers", name, CheckQualifiedName(name));
  }
  for (size_t i = 0; i < finalizers.size(); ++i) {
    std::string_view name = Text(finalizers[i]);
    bool standard = name == "kubernetes" || name == "orphan" ||
                    name == "foregroundDeletion";
    if (standard || name.find('/') != std::string_view::npos) continue;
    errors->Invalid(StrCat("metadata.finalizers[", i, "]"), name,
                    "name is neither a standard finalizer name nor is it "
                    "fully qualified");
  }
  if (before == nullptr ||
      Text(*before, {"metadata", "deletionTimestamp"}).empty()) {
    return;
  }
  const Json& old = List(*before, {"metadata", "finalizers"});
  for (const Json& each : finalizers) {
    if (std::find(old.begin(), old.end(), each) == old.end()) {
      errors->Forbidden("metadata.finalizers",
                        StrCat("no new finalizers can be added if the object "
                               "is being deleted, found new finalizers "
                               "[]string{\"",
                               Text(each), "\"}"));
    }
  }
}

}  // namespace

void ValidateLabels(const Json& labels, const std::string& field,
                    FieldErrorList* errors) {
  for (const auto& [key, value] : Map(labels).items()) {
    errors->InvalidEach(field, key, CheckQualifiedName(key));
    errors->InvalidEach(field, Text(value), CheckLabelValue(Text(value)));
  }
}

void ValidateMetadata(const Json& object, const Json* before, NameRule rule,
                      FieldErrorList* errors) {
  const Json& metadata = Get(object, "metadata");
  if (before == nullptr) {
    ValidateName(metadata, rule, errors);
  } else {
    std::string_view uid = Text(metadata, "uid");
    if (!uid.empty() && uid != Text(*before, {"metadata", "uid"})) {
      // The stock server checks, and says so, twice.
      errors->Invalid("metadata.uid", uid, "field is immutable");
      errors->Invalid("metadata.uid", uid, "field is immutable");
    }
  }
  // So often the stock server checks them, and says so.
  const int times = before == nullptr ? 1 : 3;
  for (int i = 0; i < times; ++i) {
    ValidateLabels(Get(metadata, "labels"), "metadata.labels", errors);
    ValidateAnnotations(Get(metadata, "annotations"), errors);
  }
  ValidateOwners(Get(metadata, "ownerReferences"), errors);
  ValidateFinalizers(metadata, before, errors);
}

void ValidateLabelSelector(const Json& selector, const std::string& field,
                           FieldErrorList* errors) {
  ValidateLabels(Get(selector, "matchLabels"), Child(field, "matchLabels"),
                 errors);
  const Json& terms = List(selector, "matchExpressions");
  for (size_t i = 0; i < terms.size(); ++i) {
    std::string at = At(Child(field, "matchExpressions"), i);
    std::string_view op = Text(terms[i], "operator");
    const Json& values = List(terms[i], "values");
    if (op == "In" || op == "NotIn") {
      if (values.empty()) {
        errors->Required(
            Child(at, "values"),
            "must be specified when `operator` is 'In' or 'NotIn'");
      }
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (!values.empty()) {
        errors->Forbidden(
            Child(at, "values"),
            "may not be specified when `operator` is 'Exists' or "
            "'DoesNotExist'");
      }
    } else {
      errors->Invalid(Child(at, "operator"), op,
                      "not a valid selector operator");
    }
    errors->InvalidEach(Child(at, "key"), Text(terms[i], "key"),
                        CheckQualifiedName(Text(terms[i], "key")));
    for (size_t j = 0; j < values.size(); ++j) {
      errors->InvalidEach(At(Child(at, "values"), j), Text(values[j]),
                          CheckLabelValue(Text(values[j])));
    }
  }
}

bool SelectorMatches(const Json& selector, const Json& labels) {
  for (const auto& [key, value] : Map(selector, "matchLabels").items()) {
    if (!Get(labels, key).is_string() || Get(labels, key) != value) {
      return false;
    }
  }
  for (const Json& term : List(selector, "matchExpressions")) {
    const Json& label = Get(labels, Text(term, "key"));
    const Json& values = List(term, "values");
    bool has = label.is_string();
    bool in = has && std::find(values.begin(), values.end(), label) !=
                         values.end();
    std::string_view op = Text(term, "operator");
    bool match = op == "In"       ? in
                 : op == "NotIn"  ? !in
                 : op == "Exists" ? has
                                  : !has;
    if (!match) return false;
  }
  return true;
}

}  // namespace fairlead::api
