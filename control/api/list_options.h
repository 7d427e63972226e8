// SPDX-License-Identifier: Apache-2.0
// The query parameters of list and watch, and the continue token.
// Threads: values.
#ifndef FAIRLEAD_CONTROL_API_LIST_OPTIONS_H_
#define FAIRLEAD_CONTROL_API_LIST_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "control/api/http.h"
#include "control/store/store.h"

namespace fairlead::api {

struct ListOptions {
  bool watch = false;
  bool bookmarks = false;
  std::optional<bool> send_initial_events;
  std::optional<store::Revision> version;  // nullopt: not given
  std::string match;                       // "", "Exact", "NotOlderThan"
  int64_t limit = 0;                       // <= 0: none
  std::string continue_token;
  std::optional<int64_t> timeout_seconds;

  // Errors are 400 and 422 in the server's words.
  [[nodiscard]] static absl::StatusOr<ListOptions> Parse(const Query& query);
};

struct ContinueToken {
  store::Revision revision = 0;  // -1: whatever is newest
  std::string start;             // the first key, after the list's own prefix

  std::string Encode() const;
  [[nodiscard]] static absl::StatusOr<ContinueToken> Decode(
      std::string_view text);
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_LIST_OPTIONS_H_
