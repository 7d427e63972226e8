// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/http_status.h"

namespace fairlead::kube {
namespace {

struct Row {
  int http_status;
  absl::StatusCode code;
};

constexpr Row kRows[] = {
    {400, absl::StatusCode::kInvalidArgument},
    {401, absl::StatusCode::kUnauthenticated},
    {403, absl::StatusCode::kPermissionDenied},
    {404, absl::StatusCode::kNotFound},
    {405, absl::StatusCode::kUnimplemented},
    {406, absl::StatusCode::kInvalidArgument},
    {409, absl::StatusCode::kAborted},
    {410, absl::StatusCode::kOutOfRange},
    {413, absl::StatusCode::kInvalidArgument},
    {415, absl::StatusCode::kInvalidArgument},
    {422, absl::StatusCode::kInvalidArgument},
    {429, absl::StatusCode::kResourceExhausted},
    {500, absl::StatusCode::kInternal},
    {502, absl::StatusCode::kUnavailable},
    {503, absl::StatusCode::kUnavailable},
    {504, absl::StatusCode::kUnavailable},
};

}  // namespace

absl::StatusCode AbslCodeOf(int http_status, std::string_view reason) {
  if (http_status == 409 && reason == "AlreadyExists") {
    return absl::StatusCode::kAlreadyExists;
  }
  for (const Row& row : kRows) {
    if (row.http_status == http_status) return row.code;
  }
  return absl::StatusCode::kUnknown;
}

}  // namespace fairlead::kube
