// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/status.h"

#include "userspace/base/strings.h"

namespace fairlead {

absl::Status ErrnoStatus(int error, std::string_view operation,
                         std::string_view object) {
  if (error == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(
      error, object.empty() ? std::string(operation)
                            : StrCat(operation, " ", object));
}

absl::Status WithContext(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status out(status.code(),
                   StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) {
        out.SetPayload(url, payload);
      });
  return out;
}

}  // namespace fairlead
