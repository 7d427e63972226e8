// SPDX-License-Identifier: Apache-2.0
#include "userspace/pki/jwt.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::pki {
namespace {

using nlohmann::json;

constexpr size_t kMaxTokenBytes = 16u << 10;

absl::Status Bad(std::string_view why) {
  return absl::UnauthenticatedError(StrCat("token: ", why));
}

// An object with few levels: a token is no place for deep nesting, and the
// parser recurses.
std::optional<json> DecodeObject(absl::string_view part) {
  constexpr int kMaxDepth = 8;
  std::string text;
  if (!absl::WebSafeBase64Unescape(part, &text)) return std::nullopt;
  bool shallow = true;
  json object = json::parse(
      text,
      [&](int depth, json::parse_event_t, json&) {
        shallow &= depth <= kMaxDepth;
        return shallow;
      },
      false);
  if (!shallow || !object.is_object()) return std::nullopt;
  return object;
}

}  // namespace

absl::StatusOr<std::string> SignJwt(const json& claims, const Key& key) {
  const json header = {{"alg", "ES256"}, {"kid", key.Id()}};
  std::string text =
      StrCat(absl::WebSafeBase64Escape(header.dump()), ".",
             absl::WebSafeBase64Escape(claims.dump(
                 -1, ' ', false, json::error_handler_t::replace)));
  FL_ASSIGN_OR_RETURN(const std::string signature, key.Sign(text));
  StrAppend(&text, ".", absl::WebSafeBase64Escape(signature));
  return text;
}

absl::StatusOr<json> VerifyJwt(std::string_view token, const Key& key) {
  if (token.size() > kMaxTokenBytes) return Bad("too long");
  const std::vector<absl::string_view> parts =
      absl::StrSplit(Absl(token), '.');
  if (parts.size() != 3) return Bad("not three parts");
  const std::optional<json> header = DecodeObject(parts[0]);
  if (!header) return Bad("no header");
  auto algorithm = header->find("alg");
  if (algorithm == header->end() || *algorithm != "ES256") {
    return Bad("the algorithm is not ES256");
  }
  std::string signature;
  if (!absl::WebSafeBase64Unescape(parts[2], &signature) ||
      !key.Verify(token.substr(0, parts[0].size() + 1 + parts[1].size()),
                  signature)) {
    return Bad("the signature does not fit");
  }
  std::optional<json> claims = DecodeObject(parts[1]);
  if (!claims) return Bad("no claims");
  return *std::move(claims);
}

}  // namespace fairlead::pki
