// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/takeover_mode.h"

#include "absl/status/status.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {

std::string_view TakeoverModeName(TakeoverMode mode) {
  switch (mode) {
    case TakeoverMode::kAuto:
      return "auto";
    case TakeoverMode::kOn:
      return "on";
    case TakeoverMode::kOff:
      return "off";
  }
  return "";
}

absl::StatusOr<TakeoverMode> ParseTakeoverMode(std::string_view text) {
  for (TakeoverMode mode :
       {TakeoverMode::kAuto, TakeoverMode::kOn, TakeoverMode::kOff}) {
    if (text == TakeoverModeName(mode)) return mode;
  }
  return absl::InvalidArgumentError(
      StrCat("\"", text, "\": want auto, on or off"));
}

}  // namespace fairlead::agent
