// SPDX-License-Identifier: Apache-2.0
#include "control/api/field_set.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "control/api/go_format.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

bool HasChildren(const FieldSet& node) {
  return node.size() > (node.contains(kSelf) ? 1u : 0u);
}

void SetMember(FieldSet& node, bool member) {
  if (member && HasChildren(node)) {
    node[kSelf] = FieldSet::object();
  } else {
    node.erase(kSelf);
  }
}

// "[port=80,protocol=\"TCP\"]" for a key, ".name" for a field.
std::string StepText(std::string_view key) {
  std::string_view rest = key.substr(2);
  switch (key[0]) {
    case 'f':
      return StrCat(".", rest);
    case 'v':
      return StrCat("[=", rest, "]");
    case 'i':
      return StrCat("[", rest, "]");
    default:
      break;
  }
  FieldSet keys = FieldSet::parse(rest, nullptr, false);
  if (!keys.is_object()) return StrCat("[", rest, "]");
  std::string out = "[";
  for (const auto& [name, value] : keys.items()) {
    StrAppend(&out, out.size() > 1 ? "," : "", name, "=", value.dump());
  }
  return out + "]";
}

void AppendPaths(const FieldSet& set, const std::string& prefix,
                 std::vector<std::string>* out) {
  for (const auto& [key, node] : set.items()) {
    if (key != kSelf && IsMember(node)) out->push_back(prefix + StepText(key));
  }
  for (const auto& [key, node] : set.items()) {
    if (key != kSelf) AppendPaths(node, prefix + StepText(key), out);
  }
}

// The canonical form of a key that a client wrote; empty when it is none.
std::string CanonicalKey(const std::string& key) {
  if (key.size() < 2 || key[1] != ':') return "";
  std::string_view rest = std::string_view(key).substr(2);
  if (key[0] == 'f') return key;
  if (key[0] == 'i') {
    int index;
    auto [end, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), index);
    bool whole = error == std::errc() && end == rest.data() + rest.size();
    return whole ? key : "";
  }
  if (key[0] != 'k' && key[0] != 'v') return "";
  absl::StatusOr<FieldSet> value = ParseJson(rest);
  if (!value.ok() || (key[0] == 'k' && !value->is_object())) return "";
  return StrCat(key.substr(0, 2),
                value->dump(-1, ' ', false,
                            FieldSet::error_handler_t::replace));
}

}  // namespace

bool IsMember(const FieldSet& node) {
  return node.empty() || node.contains(kSelf);
}

void PutNode(FieldSet& parent, const std::string& key, FieldSet node,
             bool member) {
  if (node.empty() && !member) return;
  if (!node.is_object()) node = FieldSet::object();
  SetMember(node, member);
  parent[key] = std::move(node);
}

void AddFields(FieldSet& set, const FieldSet& more) {
  for (const auto& [key, node] : more.items()) {
    if (key == kSelf) continue;
    auto it = set.find(key);
    if (it == set.end()) {
      set[key] = node;
      continue;
    }
    bool member = IsMember(*it) || IsMember(node);
    AddFields(*it, node);
    SetMember(*it, member);
  }
}

void TakeFields(FieldSet& set, const FieldSet& less) {
  for (const auto& [key, node] : less.items()) {
    auto it = set.find(key);
    if (key == kSelf || it == set.end()) continue;
    bool member = IsMember(*it) && !IsMember(node);
    TakeFields(*it, node);
    SetMember(*it, member);
    if (it->empty() && !member) set.erase(it);
  }
}

FieldSet CommonFields(const FieldSet& a, const FieldSet& b) {
  FieldSet out = FieldSet::object();
  for (const auto& [key, node] : a.items()) {
    auto it = b.find(key);
    if (key == kSelf || it == b.end()) continue;
    PutNode(out, key, CommonFields(node, *it), IsMember(node) && IsMember(*it));
  }
  return out;
}

std::vector<std::string> FieldPaths(const FieldSet& set) {
  std::vector<std::string> out;
  AppendPaths(set, "", &out);
  return out;
}

absl::Status CanonicalFields(FieldSet& set) {
  if (!set.is_object()) {
    return absl::InvalidArgumentError("a set of fields is not an object");
  }
  FieldSet out = FieldSet::object();
  for (auto& [key, node] : set.items()) {
    if (key == kSelf) {
      out[kSelf] = FieldSet::object();
      continue;
    }
    std::string canonical = CanonicalKey(key);
    if (canonical.empty()) {
      return absl::InvalidArgumentError(StrCat("bad path element: ", key));
    }
    FL_RETURN_IF_ERROR(CanonicalFields(node));
    out[canonical] = std::move(node);
  }
  set = std::move(out);
  return absl::OkStatus();
}

}  // namespace fairlead::api
