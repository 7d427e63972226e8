// SPDX-License-Identifier: Apache-2.0
#include "control/server/kubelet_client.h"

#include <spdlog/spdlog.h>

#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/pki/kubelet_client.h"

namespace fairlead::server {
namespace {

constexpr absl::Duration kRenewEvery = absl::Hours(24 * 7);
constexpr absl::Duration kRetry = absl::Hours(1);

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (text.empty())
    return absl::NotFoundError(StrCat(path, ": can't be read, or is empty"));
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KubeletClient>> KubeletClient::Create(
    EventLoop* loop, const pki::Authority* authority,
    const KubeletClientOptions& options) {
  std::unique_ptr<KubeletClient> out(new KubeletClient(loop, authority));
  out->peer_.ca_pem = authority->certificate().ToPem();
  if (!options.authority.empty()) {
    FL_ASSIGN_OR_RETURN(out->peer_.ca_pem, ReadPem(options.authority));
  }
  if (options.certificate.empty()) {
    FL_RETURN_IF_ERROR(out->Renew());
    return out;
  }
  out->peer_.client_certificate_file = options.certificate;
  out->peer_.client_key_file = options.key;
  FL_ASSIGN_OR_RETURN(out->peer_.client_certificate_pem,
                      ReadPem(options.certificate));
  FL_ASSIGN_OR_RETURN(out->peer_.client_key_pem, ReadPem(options.key));
  auto source = kube::TlsSource::Make(out->peer_);
  if (!source.ok())
    return WithContext(source.status(), "--kubelet-client-certificate");
  out->source_ = *std::move(source);
  return out;
}

std::shared_ptr<kube::TlsSettings> KubeletClient::current() {
  return source_.Current(Clock::Real().Monotonic());
}

absl::Status KubeletClient::Renew() {
  auto renew = [&]() -> absl::Status {
    FL_ASSIGN_OR_RETURN(
        const pki::Credential credential,
        authority_->IssueClient({pki::kKubeletClientUser, {}}, absl::Now()));
    peer_.client_certificate_pem = credential.certificate_pem;
    peer_.client_key_pem = credential.key_pem;
    FL_ASSIGN_OR_RETURN(source_, kube::TlsSource::Make(peer_));
    return absl::OkStatus();
  };
  absl::Status status = renew();
  if (!status.ok()) {
    spdlog::error("msg=\"kubelet client certificate\" error=\"{}\"",
                  status.ToString());
  }
  timer_ = loop_->After(status.ok() ? kRenewEvery : kRetry,
                        [this] { (void)Renew(); });
  return status;
}

}  // namespace fairlead::server
