// SPDX-License-Identifier: Apache-2.0
// Field errors and the formats of names and values.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kLabelMessage =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric "
    "characters or '-', and must start and end with an alphanumeric character "
    "(e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kSubdomainMessage =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
    "characters, '-' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kQualifiedMessage =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
    "'123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view kLabelValueMessage =
    "a valid label must be an empty string or consist of alphanumeric "
    "characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

bool IsLower(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<uint8_t>(c)); }

bool MatchesLabel(std::string_view text) {
  return !text.empty() && IsLower(text.front()) && IsLower(text.back()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return IsLower(c) || c == '-'; });
}

bool MatchesSubdomain(std::string_view text) {
  for (absl::string_view part : absl::StrSplit(Absl(text), '.')) {
    if (!MatchesLabel(Std(part))) return false;
  }
  return true;
}

// The name part of a qualified name, and a label's value.
bool MatchesQualified(std::string_view text) {
  return !text.empty() && IsAlnum(text.front()) && IsAlnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return IsAlnum(c) || c == '-' || c == '_' || c == '.';
         });
}

std::string JsonText(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Quoted(const FieldErrorList::Words& words) {
  std::vector<std::string> quoted;
  for (std::string_view word : words) {
    quoted.push_back(StrCat("\"", word, "\""));
  }
  return absl::StrJoin(quoted, ", ");
}

// 10.96.077.78 is an address to some readers, 10.96.63.78 to others.
bool HasLeadingZeros(std::string_view text) {
  if (text.find(':') != std::string_view::npos) return false;
  std::vector<std::string> parts;
  for (absl::string_view part : absl::StrSplit(Absl(text), '.')) {
    while (part.size() > 1 && part[0] == '0') part.remove_prefix(1);
    parts.emplace_back(part);
  }
  return IpAddress::Parse(absl::StrJoin(parts, ".")).ok();
}

}  // namespace

void FieldErrorList::Invalid(std::string field, const Json& value,
                             std::string_view message) {
  errors_.push_back(
      {"FieldValueInvalid", std::move(field),
       StrCat("Invalid value: ", JsonText(value), ": ", message)});
}

void FieldErrorList::Required(std::string field, std::string_view message) {
  errors_.push_back({"FieldValueRequired", std::move(field),
                     message.empty() ? std::string("Required value")
                                     : StrCat("Required value: ", message)});
}

void FieldErrorList::NotSupported(std::string field, const Json& value,
                                  const Words& allowed) {
  errors_.push_back({"FieldValueNotSupported", std::move(field),
                     StrCat("Unsupported value: ", JsonText(value),
                            ": supported values: ", Quoted(allowed))});
}

void FieldErrorList::Duplicate(std::string field, const Json& value) {
  errors_.push_back({"FieldValueDuplicate", std::move(field),
                     StrCat("Duplicate value: ", JsonText(value))});
}

void FieldErrorList::Forbidden(std::string field, std::string_view message) {
  errors_.push_back({"FieldValueForbidden", std::move(field),
                     StrCat("Forbidden: ", message)});
}

void FieldErrorList::NotFound(std::string field, const Json& value) {
  errors_.push_back({"FieldValueNotFound", std::move(field),
                     StrCat("Not found: ", JsonText(value))});
}

void FieldErrorList::TooLong(std::string field, size_t max_bytes) {
  errors_.push_back(
      {"FieldValueTooLong", std::move(field),
       StrCat("Too long: may not be more than ", max_bytes, " bytes")});
}

void FieldErrorList::TooMany(std::string field, size_t count, size_t max) {
  errors_.push_back({"FieldValueTooMany", std::move(field),
                     StrCat("Too many: ", count, ": must have at most ", max,
                            " items")});
}

void FieldErrorList::InvalidEach(const std::string& field,
                                 std::string_view value,
                                 const Messages& messages) {
  for (const std::string& message : messages) Invalid(field, value, message);
}

void FieldErrorList::OneOf(std::string field, const Json& value,
                           const Words& allowed) {
  if (std::find(allowed.begin(), allowed.end(), Text(value)) == allowed.end()) {
    NotSupported(std::move(field), value.is_null() ? Json("") : value, allowed);
  }
}

void FieldErrorList::NotNegative(std::string field, const Json& value) {
  if (value.is_number() && Int(value) < 0) {
    Invalid(std::move(field), value, "must be greater than or equal to 0");
  }
}

void FieldErrorList::Append(FieldErrors more) {
  for (FieldError& error : more) errors_.push_back(std::move(error));
}

std::string At(std::string_view field, size_t index) {
  return StrCat(field, "[", index, "]");
}
std::string Child(std::string_view field, std::string_view name) {
  return field.empty() ? std::string(name) : StrCat(field, ".", name);
}
std::string Keyed(std::string_view field, std::string_view key) {
  return StrCat(field, "[", key, "]");
}

Messages CheckDnsLabel(std::string_view text) {
  Messages messages;
  if (text.size() > 63) {
    messages.push_back("must be no more than 63 characters");
  }
  if (text.find('.') != std::string_view::npos && MatchesSubdomain(text)) {
    messages.push_back("must not contain dots");
  } else if (!MatchesLabel(text)) {
    messages.emplace_back(kLabelMessage);
  }
  return messages;
}

Messages CheckDnsSubdomain(std::string_view text) {
  Messages messages;
  if (text.size() > 253) {
    messages.push_back("must be no more than 253 characters");
  }
  if (!MatchesSubdomain(text)) messages.emplace_back(kSubdomainMessage);
  return messages;
}

Messages CheckPathSegment(std::string_view text) {
  Messages messages;
  if (text == "." || text == "..") {
    messages.push_back(StrCat("may not be '", text, "'"));
  }
  for (const char* part : {"/", "%"}) {
    if (text.find(part) != text.npos) {
      messages.push_back(StrCat("may not contain '", part, "'"));
    }
  }
  return messages;
}

Messages CheckQualifiedName(std::string_view text) {
  Messages messages;
  std::string_view name = text;
  if (size_t slash = text.find('/'); slash != std::string_view::npos) {
    if (text.find('/', slash + 1) != std::string_view::npos) {
      return {StrCat("a qualified name ", kQualifiedMessage,
                     " with an optional DNS subdomain prefix and '/' (e.g. "
                     "'example.com/MyName')")};
    }
    std::string_view prefix = text.substr(0, slash);
    name = text.substr(slash + 1);
    if (prefix.empty()) {
      messages.push_back("prefix part must be non-empty");
    } else {
      for (const std::string& message : CheckDnsSubdomain(prefix)) {
        messages.push_back(StrCat("prefix part ", message));
      }
    }
  }
  if (name.empty()) {
    messages.push_back("name part must be non-empty");
  } else if (name.size() > 63) {
    messages.push_back("name part must be no more than 63 bytes");
  }
  if (!MatchesQualified(name)) {
    messages.push_back(StrCat("name part ", kQualifiedMessage));
  }
  return messages;
}

Messages CheckLabelValue(std::string_view text) {
  Messages messages;
  if (text.size() > 63) messages.push_back("must be no more than 63 bytes");
  if (!text.empty() && !MatchesQualified(text)) {
    messages.emplace_back(kLabelValueMessage);
  }
  return messages;
}

Messages CheckPortNumber(int64_t port) {
  if (port >= 1 && port <= 65535) return {};
  return {"must be between 1 and 65535, inclusive"};
}

Messages CheckPortName(std::string_view text) {
  Messages messages;
  if (text.size() > 15) {
    messages.push_back("must be no more than 15 characters");
  }
  if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) {
        return IsLower(c) || c == '-';
      })) {
    messages.push_back(
        "must contain only alphanumeric characters (a-z, 0-9), and hyphens "
        "(-)");
  }
  if (std::none_of(text.begin(), text.end(),
                   [](char c) { return c >= 'a' && c <= 'z'; })) {
    messages.push_back("must contain at least one letter (a-z)");
  }
  if (text.find("--") != std::string_view::npos) {
    messages.push_back("must not contain consecutive hyphens");
  }
  if (!text.empty() && (text.front() == '-' || text.back() == '-')) {
    messages.push_back("must not begin or end with a hyphen");
  }
  return messages;
}

Messages CheckIp(std::string_view text) {
  auto address = IpAddress::Parse(text);
  if (!address.ok()) {
    if (HasLeadingZeros(text)) return {"must not have leading 0s"};
    return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
  }
  if (address->is_v4() && text.find(':') != std::string_view::npos) {
    return {"must not be an IPv4-mapped IPv6 address"};
  }
  return {};
}

Messages CheckReachableIp(std::string_view text) {
  if (Messages messages = CheckIp(text); !messages.empty()) return messages;
  auto address = IpAddress::Parse(text);
  if (!address.ok()) return {};
  auto in = [&](std::string_view v4, std::string_view v6) {
    return IpPrefix::Parse(v4)->Contains(*address) ||
           IpPrefix::Parse(v6)->Contains(*address);
  };
  if (address->is_unspecified()) {
    return {"may not be unspecified (0.0.0.0 or ::)"};
  }
  if (address->is_loopback()) {
    return {"may not be in the loopback range (127.0.0.0/8, ::1/128)"};
  }
  if (in("169.254.0.0/16", "fe80::/10")) {
    return {"may not be in the link-local range (169.254.0.0/16, fe80::/10)"};
  }
  if (in("224.0.0.0/24", "ff02::/16")) {
    return {
        "may not be in the link-local multicast range (224.0.0.0/24, "
        "ff02::/10)"};
  }
  return {};
}

Messages CheckCidr(std::string_view text) {
  if (IpPrefix::Parse(text, /*mask_host_bits=*/true).ok()) return {};
  return {"must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"};
}

Messages CheckConfigKey(std::string_view text) {
  Messages messages;
  if (text.size() > 253) {
    messages.push_back("must be no more than 253 characters");
  }
  if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) {
        return IsAlnum(c) || c == '-' || c == '_' || c == '.';
      })) {
    messages.push_back(
        "a valid config key must consist of alphanumeric characters, '-', '_' "
        "or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used "
        "for validation is '[-._a-zA-Z0-9]+')");
  }
  if (text == ".") messages.push_back("must not be '.'");
  if (text.starts_with("..")) messages.push_back("must not start with '..'");
  return messages;
}

Messages CheckEnvName(std::string_view text) {
  if (!text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return c > ' ' - 1 && c < 127 && c != '=';
      })) {
    return {};
  }
  return {
      "a valid environment variable name must consist only of printable ASCII "
      "characters other than '='"};
}

}  // namespace fairlead::api
