// SPDX-License-Identifier: Apache-2.0
#include "control/api/schema_set.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr char kMeta[] =
#include "control/api/schemas/meta_v1.fls"
    ;
constexpr char kCore[] =
#include "control/api/schemas/core_v1.fls"
    ;
constexpr char kEvents[] =
#include "control/api/schemas/events_v1.fls"
    ;
constexpr char kApps[] =
#include "control/api/schemas/apps_v1.fls"
    ;
constexpr char kDiscovery[] =
#include "control/api/schemas/discovery_v1.fls"
    ;
constexpr char kCoordination[] =
#include "control/api/schemas/coordination_v1.fls"
    ;
constexpr char kAutoscaling[] =
#include "control/api/schemas/autoscaling_v1.fls"
    ;
constexpr char kAuthorization[] =
#include "control/api/schemas/authorization_v1.fls"
    ;
constexpr char kPolicy[] =
#include "control/api/schemas/policy_v1.fls"
    ;
constexpr char kBatch[] =
#include "control/api/schemas/batch_v1.fls"
    ;
constexpr char kScheduling[] =
#include "control/api/schemas/scheduling_v1.fls"
    ;
constexpr char kNetworking[] =
#include "control/api/schemas/networking_v1.fls"
    ;
constexpr char kMetrics[] =
#include "control/api/schemas/metrics_v1beta1.fls"
    ;
constexpr char kRbac[] =
#include "control/api/schemas/rbac_v1.fls"
    ;
constexpr char kAuthentication[] =
#include "control/api/schemas/authentication_v1.fls"
    ;

struct Scalar {
  std::string_view word;
  Shape shape;
};
constexpr Scalar kScalars[] = {
    {"string", Shape::kString},       {"int32", Shape::kInteger},
    {"int64", Shape::kInteger},       {"number", Shape::kNumber},
    {"bool", Shape::kBoolean},        {"bytes", Shape::kBytes},
    {"quantity", Shape::kQuantity},   {"intOrString", Shape::kIntOrString},
    {"time", Shape::kTime},           {"microTime", Shape::kMicroTime},
    {"any", Shape::kAny},             {"fieldsV1", Shape::kAny},
    {"rawExtension", Shape::kAny},
};

std::vector<std::string> Words(std::string_view text, char separator) {
  return absl::StrSplit(Absl(text), separator, absl::SkipEmpty());
}

// Cuts off and returns the text up to the next space.
std::string_view NextWord(std::string_view* line) {
  size_t begin = line->find_first_not_of(' ');
  if (begin == std::string_view::npos) {
    *line = {};
    return {};
  }
  size_t end = line->find(' ', begin);
  std::string_view word = line->substr(begin, end - begin);
  *line = end == std::string_view::npos ? std::string_view()
                                        : line->substr(end);
  return word;
}

// Protobuf's own limit.
constexpr uint32_t kMaxNumber = (1u << 29) - 1;

bool ParseNumber(std::string_view text, uint32_t* out) {
  return absl::SimpleAtoi(Absl(text), out) && *out > 0 && *out <= kMaxNumber;
}

// "7" or "1.7".
bool ParseNumbers(std::string_view text, Field* field) {
  size_t dot = text.find('.');
  if (dot == std::string_view::npos) return ParseNumber(text, &field->number);
  return ParseNumber(text.substr(0, dot), &field->outer) &&
         ParseNumber(text.substr(dot + 1), &field->number);
}

std::pair<uint32_t, uint32_t> WireOrder(const Field& field) {
  if (field.outer != 0) return {field.outer, field.number};
  return {field.number, 0};
}

// Fills in by_number.
absl::Status OrderByNumber(Type* type) {
  for (const Field& field : type->fields) {
    if (field.number != 0) type->by_number.push_back(&field);
  }
  auto& order = type->by_number;
  std::sort(order.begin(), order.end(), [](const Field* a, const Field* b) {
    return WireOrder(*a) < WireOrder(*b);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    auto [outer, inner] = WireOrder(*order[i]);
    auto [last_outer, last_inner] = WireOrder(*order[i - 1]);
    // A number is one field's, or one embedded message's.
    if (outer != last_outer) continue;
    if (inner == last_inner || inner == 0 || last_inner == 0) {
      return absl::InvalidArgumentError(
          StrCat("type ", type->name, ": ", order[i - 1]->name, " and ",
                 order[i]->name, " have the same number"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string_view> EmbeddedSchemas() {
  return {kMeta, kCore, kEvents, kApps, kDiscovery, kCoordination, kAutoscaling,
          kPolicy, kBatch, kScheduling, kNetworking, kAuthorization,
          kAuthentication, kRbac, kMetrics};
}

// Types may be used before they are described, so a use makes an empty type
// that a later line fills; Finish() checks that none was left empty.
class SchemaParser {
 public:
  explicit SchemaParser(SchemaSet* set) : set_(set) {
    for (const Scalar& scalar : kScalars) {
      Type& type = set_->types_.emplace_back();
      type.shape = scalar.shape;
      // Words that share a shape are told apart by the type's name.
      if (scalar.shape == Shape::kInteger || scalar.shape == Shape::kAny) {
        type.name = scalar.word;
      }
      by_expression_[std::string(scalar.word)] = &type;
    }
  }

  // The files' "package" lines, which all must be known before any use.
  absl::Status AddPackages(std::string_view text) {
    for (absl::string_view line : absl::StrSplit(Absl(text), '\n')) {
      std::string_view rest = Std(line);
      if (NextWord(&rest) != "package") continue;
      std::string alias(NextWord(&rest));
      packages_[alias] = std::string(NextWord(&rest));
    }
    return absl::OkStatus();
  }

  absl::Status AddText(std::string_view text) {
    current_ = nullptr;
    package_.clear();
    int number = 0;
    for (absl::string_view piece : absl::StrSplit(Absl(text), '\n')) {
      ++number;
      absl::Status status = AddLine(Std(piece));
      if (!status.ok()) {
        return absl::InvalidArgumentError(
            StrCat(package_, " line ", number, ": ", Std(status.message())));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    for (const auto& [name, type] : set_->by_name_) {
      if (!described_.contains(name)) {
        return absl::InvalidArgumentError(
            StrCat("type ", name, " is used but not described"));
      }
    }
    for (Type& type : set_->types_) {
      FL_RETURN_IF_ERROR(OrderByNumber(&type));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status AddLine(std::string_view line) {
    if (line.empty() || line[0] == '#') return absl::OkStatus();
    if (line[0] == ' ') {
      if (current_ == nullptr) {
        return absl::InvalidArgumentError("a field before any type");
      }
      return AddField(line);
    }
    std::string_view word = NextWord(&line);
    if (word == "package") {
      package_ = std::string(NextWord(&line));
      return absl::OkStatus();
    }
    FL_ASSIGN_OR_RETURN(current_, Named(word));
    if (!described_.insert(current_->name).second) {
      return absl::InvalidArgumentError(StrCat("type ", word, " twice"));
    }
    current_->shape = Shape::kObject;
    while (!(word = NextWord(&line)).empty()) {
      if (word != "atomic") {
        return absl::InvalidArgumentError(StrCat("unknown word ", word));
      }
      current_->atomic = true;
    }
    return absl::OkStatus();
  }

  absl::Status AddField(std::string_view line) {
    Field field;
    std::string_view name = NextWord(&line);
    if (name.back() == '!') field.presence = Presence::kAlways;
    if (name.back() == '*') field.presence = Presence::kPointer;
    if (field.presence != Presence::kOmitEmpty) name.remove_suffix(1);
    field.name = std::string(name);
    FL_ASSIGN_OR_RETURN(field.type, Expression(NextWord(&line)));
    for (std::string_view word; !(word = NextWord(&line)).empty();) {
      if (word.front() == '@') {
        if (ParseNumbers(word.substr(1), &field)) continue;
        return absl::InvalidArgumentError(StrCat("bad number ", word));
      }
      size_t equals = word.find('=');
      std::string_view key = word.substr(0, equals);
      std::string_view value = equals == std::string_view::npos
                                   ? std::string_view()
                                   : word.substr(equals + 1);
      if (!SetAttribute(key, value, &field)) {
        return absl::InvalidArgumentError(StrCat("unknown word ", word));
      }
    }
    current_->fields.push_back(std::move(field));
    return absl::OkStatus();
  }

  static bool SetAttribute(std::string_view key, std::string_view value,
                           Field* field) {
    if (key == "required") {
      field->required = true;
    } else if (key == "merge") {
      field->patch_merge = true;
      field->merge_key = std::string(value);
    } else if (key == "retainKeys") {
      field->patch_retain_keys = true;
    } else if (key == "map") {
      field->list_type = "map";
      field->list_map_keys = Words(value, ',');
    } else if (key == "set" || key == "atomic") {
      field->list_type = std::string(key);
    } else if (key == "default") {
      field->default_json = std::string(value);
    } else if (key == "enum") {
      // One of the values may be the empty text.
      field->one_of = absl::StrSplit(Absl(value), '|');
    } else {
      return false;
    }
    return true;
  }

  // "Container" of this package, "meta.ObjectMeta" of another.
  absl::StatusOr<Type*> Named(std::string_view word) {
    size_t dot = word.find('.');
    std::string alias = dot == std::string_view::npos
                            ? package_
                            : std::string(word.substr(0, dot));
    auto package = packages_.find(alias);
    if (package == packages_.end()) {
      return absl::InvalidArgumentError(StrCat("unknown package ", alias));
    }
    std::string_view base =
        dot == std::string_view::npos ? word : word.substr(dot + 1);
    std::string name = StrCat(package->second, ".", base);
    auto [it, added] = set_->by_name_.try_emplace(name, nullptr);
    if (added) {
      Type& type = set_->types_.emplace_back();
      type.shape = Shape::kObject;
      type.name = name;
      it->second = &type;
    }
    // The set hands out const types; the parser is what makes them.
    return const_cast<Type*>(it->second);
  }

  absl::StatusOr<const Type*> Expression(std::string_view word) {
    if (word.size() < 2) return absl::InvalidArgumentError("no type");
    if (auto it = by_expression_.find(std::string(word));
        it != by_expression_.end()) {
      return it->second;
    }
    bool list = word.front() == '[' && word.back() == ']';
    bool map = word.front() == '{' && word.back() == '}';
    if (!list && !map) return Named(word);
    FL_ASSIGN_OR_RETURN(const Type* element,
                        Expression(word.substr(1, word.size() - 2)));
    auto [it, added] = collections_.try_emplace({element, list}, nullptr);
    if (added) {
      Type& type = set_->types_.emplace_back();
      type.shape = list ? Shape::kList : Shape::kMap;
      type.element = element;
      it->second = &type;
    }
    return it->second;
  }

  SchemaSet* set_;
  std::string package_;  // the alias of the current file's
  Type* current_ = nullptr;
  absl::flat_hash_map<std::string, std::string> packages_;
  absl::flat_hash_map<std::string, const Type*> by_expression_;
  absl::flat_hash_map<std::pair<const Type*, bool>, const Type*> collections_;
  absl::flat_hash_set<std::string> described_;
};

absl::StatusOr<std::unique_ptr<SchemaSet>> SchemaSet::Parse(
    const std::vector<std::string_view>& texts) {
  auto set = absl::WrapUnique(new SchemaSet());
  SchemaParser parser(set.get());
  for (std::string_view text : texts) {
    FL_RETURN_IF_ERROR(parser.AddPackages(text));
  }
  for (std::string_view text : texts) {
    FL_RETURN_IF_ERROR(parser.AddText(text));
  }
  FL_RETURN_IF_ERROR(parser.Finish());
  return set;
}

const Type* SchemaSet::Find(std::string_view name) const {
  auto it = by_name_.find(Absl(name));
  return it == by_name_.end() ? nullptr : it->second;
}

}  // namespace fairlead::api
