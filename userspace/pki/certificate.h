// SPDX-License-Identifier: Apache-2.0
// X.509 certificates of one authority: made, read and verified.
//
// Threads: immutable, copies share.
#ifndef FAIRLEAD_USERSPACE_PKI_CERTIFICATE_H_
#define FAIRLEAD_USERSPACE_PKI_CERTIFICATE_H_

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/pki/key.h"

namespace fairlead::pki {

// Kubernetes reads CN as the user's name and each O as a group.
struct Subject {
  std::string common_name;
  std::vector<std::string> organizations;
};

class Certificate {
 public:
  // The first certificate of the text.
  [[nodiscard]] static absl::StatusOr<Certificate> FromPem(
      std::string_view pem);
  // Shares the library's own object.
  static Certificate FromNative(X509* certificate);

  std::string ToPem() const;
  Subject subject() const;
  absl::Time not_before() const;
  absl::Time not_after() const;
  bool Matches(const Key& key) const;

  X509* native() const { return certificate_.get(); }

 private:
  explicit Certificate(X509* owned) : certificate_(owned, X509_free) {}
  std::shared_ptr<X509> certificate_;
};

enum class Usage { kAuthority, kServer, kClient };

struct CertificateSpec {
  Subject subject;
  Usage usage = Usage::kClient;
  std::vector<std::string> dns_names;
  std::vector<IpAddress> addresses;
  absl::Time not_before, not_after;
};

// Signed by `issuer` and its key. Null `issuer`: by itself.
[[nodiscard]] absl::StatusOr<Certificate> Issue(const CertificateSpec& spec,
                                                const Key& key,
                                                const Certificate* issuer,
                                                const Key& issuer_key);

// OK if `authority` signed the certificate for a client and it is valid at
// `now`; else kUnauthenticated, which says why.
[[nodiscard]] absl::Status VerifyClient(const Certificate& authority,
                                        const Certificate& certificate,
                                        absl::Time now);

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_CERTIFICATE_H_
