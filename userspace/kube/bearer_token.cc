// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/bearer_token.h"

#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"

namespace fairlead::kube {
namespace {

constexpr absl::Duration kReadEvery = absl::Seconds(10);

}  // namespace

const std::string& BearerToken::Current(absl::Duration now) {
  if (file_.empty() || now < next_read_) return token_;
  next_read_ = now + kReadEvery;
  std::ifstream file(file_);
  std::string text(std::istreambuf_iterator<char>(file), {});
  absl::StripAsciiWhitespace(&text);
  if (!text.empty()) token_ = std::move(text);
  return token_;
}

}  // namespace fairlead::kube
