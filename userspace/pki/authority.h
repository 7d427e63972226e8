// SPDX-License-Identifier: Apache-2.0
// A cluster's own certificate authority and the key that signs its service
// account tokens, in a folder:
//
//   ca.crt   the authority's certificate, for all to read
//   ca.key   its key, mode 0600
//   sa.key   signs service account tokens, mode 0600
//
// Missing files are made. A file that is damaged, or a certificate without
// its key, is an error that names it: nothing is overwritten, since every
// credential of the cluster hangs on it.
//
// Threads: Open does file I/O; the rest is immutable.
#ifndef FAIRLEAD_USERSPACE_PKI_AUTHORITY_H_
#define FAIRLEAD_USERSPACE_PKI_AUTHORITY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/pki/certificate.h"
#include "userspace/pki/key.h"

namespace fairlead::pki {

// A certificate and the key to it, as PEM.
struct Credential {
  std::string certificate_pem, key_pem;
};

class Authority {
 public:
  // Reads the folder, or makes it. An authority that ends within
  // kRenewAuthority gets a new certificate for the same key: what it signed
  // stays good.
  [[nodiscard]] static absl::StatusOr<Authority> Open(
      const std::string& folder, absl::Time now);

  const Certificate& certificate() const { return certificate_; }
  const Key& token_key() const { return token_key_; }

  // For kLeafLife from `now`, with a key of its own.
  [[nodiscard]] absl::StatusOr<Credential> IssueClient(const Subject& subject,
                                                       absl::Time now) const;
  [[nodiscard]] absl::StatusOr<Credential> IssueServer(
      const std::string& name, std::vector<std::string> dns_names,
      std::vector<IpAddress> addresses, absl::Time now) const;

 private:
  Authority(Certificate certificate, Key key, Key token_key)
      : certificate_(std::move(certificate)),
        key_(std::move(key)),
        token_key_(std::move(token_key)) {}
  absl::StatusOr<Credential> IssueLeaf(CertificateSpec spec,
                                       absl::Time now) const;

  Certificate certificate_;
  Key key_, token_key_;
};

inline constexpr absl::Duration kAuthorityLife = absl::Hours(24 * 365 * 10);
inline constexpr absl::Duration kRenewAuthority = absl::Hours(24 * 365 * 2);
inline constexpr absl::Duration kLeafLife = absl::Hours(24 * 365);
// How far clocks of a cluster may be apart.
inline constexpr absl::Duration kClockSkew = absl::Minutes(5);

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_AUTHORITY_H_
