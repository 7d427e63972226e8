// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/managed_fields.h"

#include <optional>

#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

constexpr size_t kEnd = std::string_view::npos;

size_t SkipBlanks(std::string_view text, size_t at) {
  return text.find_first_not_of(" \t\r\n", at);
}

// Behind the string that begins at `at`.
size_t EndOfString(std::string_view text, size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return kEnd;
}

// Behind the value that begins at `at`.
size_t EndOfValue(std::string_view text, size_t at) {
  size_t depth = 0;
  while (at < text.size()) {
    switch (text[at]) {
      case '"':
        at = EndOfString(text, at);
        break;
      case '{':
      case '[':
        ++depth;
        ++at;
        break;
      case '}':
      case ']':
        if (depth == 0) return at;  // the end of what holds the value
        --depth;
        ++at;
        break;
      case ',':
        if (depth == 0) return at;
        ++at;
        continue;
      default:
        at = text.find_first_of("\"{}[],", at);
        continue;
    }
    if (depth == 0) return at;
  }
  return kEnd;
}

// One member of an object: its key's first byte, its value, what is behind.
struct Member {
  size_t key, value, end;
};

// The member `key` (in quotes) of the object that begins at `at`.
std::optional<Member> FindMember(std::string_view text, size_t at,
                                 std::string_view key) {
  if (at == kEnd || text[at] != '{') return std::nullopt;
  do {
    Member member;
    member.key = SkipBlanks(text, at + 1);
    if (member.key == kEnd || text[member.key] != '"') return std::nullopt;
    const size_t end = EndOfString(text, member.key);
    const size_t colon = end == kEnd ? kEnd : SkipBlanks(text, end);
    if (colon == kEnd || text[colon] != ':') return std::nullopt;
    member.value = SkipBlanks(text, colon + 1);
    if (member.value == kEnd) return std::nullopt;
    member.end = EndOfValue(text, member.value);
    if (member.end == kEnd) return std::nullopt;
    if (text.substr(member.key, end - member.key) == key) return member;
    at = SkipBlanks(text, member.end);
  } while (at != kEnd && text[at] == ',');
  return std::nullopt;
}

}  // namespace

std::string WithoutManagedFields(std::string_view object) {
  auto metadata = FindMember(object, SkipBlanks(object, 0), "\"metadata\"");
  auto fields = metadata ? FindMember(object, metadata->value,
                                      "\"managedFields\"")
                         : std::nullopt;
  if (!fields) return std::string(object);
  // With the comma behind it, or else the one before.
  size_t from = fields->key, to = SkipBlanks(object, fields->end);
  if (to != kEnd && object[to] == ',') {
    ++to;
  } else {
    to = fields->end;
    const size_t before = object.find_last_not_of(" \t\r\n", from - 1);
    if (object[before] == ',') from = before;
  }
  return StrCat(object.substr(0, from), object.substr(to));
}

}  // namespace fairlead::kube
