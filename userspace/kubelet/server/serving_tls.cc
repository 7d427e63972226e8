// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/serving_tls.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {
namespace {

constexpr absl::Duration kLookEvery = absl::Seconds(10);

}  // namespace

absl::StatusOr<ServingTls> ServingTls::Open(TlsFiles files) {
  ServingTls tls(std::move(files));
  FL_RETURN_IF_ERROR(tls.Load());
  tls.next_look_ = Clock::Real().Monotonic() + kLookEvery;
  return tls;
}

absl::Status ServingTls::Load() {
  FL_ASSIGN_OR_RETURN(const std::string certificate,
                      ReadFile(files_.certificate));
  FL_ASSIGN_OR_RETURN(const std::string key, ReadFile(files_.private_key));
  FL_ASSIGN_OR_RETURN(const std::string authority,
                      ReadFile(files_.client_authority));
  std::string read = StrCat(certificate, key, authority);
  if (read == read_) return absl::OkStatus();
  auto client_authority = pki::Certificate::FromPem(authority);
  if (!client_authority.ok())
    return WithContext(client_authority.status(), files_.client_authority);
  auto context = pki::MakeServerContext({certificate, key}, *client_authority);
  if (!context.ok()) {
    return WithContext(context.status(),
                       StrCat(files_.certificate, ", ", files_.private_key));
  }
  context_ = *std::move(context);
  client_authority_ = *std::move(client_authority);
  const bool again = !std::exchange(read_, std::move(read)).empty();
  if (again) {
    spdlog::info("serving certificate replaced file={}", files_.certificate);
  }
  return absl::OkStatus();
}

pki::TlsContext ServingTls::Current(absl::Duration now) {
  if (now >= next_look_) {
    next_look_ = now + kLookEvery;
    if (const absl::Status status = Load(); !status.ok()) {
      spdlog::warn("serving certificate stays as it was error=\"{}\"",
                   status.ToString());
    }
  }
  return context_;
}

}  // namespace fairlead::kubelet
