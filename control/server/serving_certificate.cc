// SPDX-License-Identifier: Apache-2.0
#include "control/server/serving_certificate.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

#include "absl/time/clock.h"
#include "userspace/base/status.h"

namespace fairlead::server {
namespace {

// It is good for a year, so that a machine that slept for months still shows
// a good one.
constexpr absl::Duration kRenewEvery = absl::Hours(24 * 7);
constexpr absl::Duration kRetry = absl::Hours(1);

}  // namespace

absl::StatusOr<std::unique_ptr<ServingCertificate>> ServingCertificate::Create(
    EventLoop* loop, const pki::Authority* authority,
    const ControllerConfig& config) {
  std::unique_ptr<ServingCertificate> out(
      new ServingCertificate(loop, authority));
  out->names_ = {"kubernetes", "kubernetes.default", "kubernetes.default.svc",
                 "kubernetes.default.svc.cluster.local", "localhost"};
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) == 0 && *host != '\0') {
    out->names_.emplace_back(host);
  }
  out->names_.insert(out->names_.end(), config.tls_names.begin(),
                     config.tls_names.end());
  out->addresses_ = config.tls_addresses;
  for (const char* loopback : {"127.0.0.1", "::1"}) {
    out->addresses_.push_back(*IpAddress::Parse(loopback));
  }
  for (const api::ListenAddress& listen : config.listen) {
    if (!listen.address.is_unspecified()) {
      out->addresses_.push_back(listen.address);
    }
  }
  for (const IpPrefix& cidr : config.service_cidrs) {
    out->addresses_.push_back(cidr.At(1));  // of default/kubernetes
  }
  FL_RETURN_IF_ERROR(out->Renew());
  return out;
}

absl::Status ServingCertificate::Renew() {
  auto renew = [&]() -> absl::Status {
    FL_ASSIGN_OR_RETURN(
        const pki::Credential credential,
        authority_->IssueServer("kube-apiserver", names_, addresses_,
                                absl::Now()));
    FL_ASSIGN_OR_RETURN(
        context_,
        pki::MakeServerContext(credential, authority_->certificate()));
    return absl::OkStatus();
  };
  absl::Status status = renew();
  if (!status.ok()) {
    spdlog::error("msg=\"serving certificate\" error=\"{}\"",
                  status.ToString());
  }
  timer_ = loop_->After(status.ok() ? kRenewEvery : kRetry,
                        [this] { (void)Renew(); });
  return status;
}

}  // namespace fairlead::server
