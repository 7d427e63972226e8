// SPDX-License-Identifier: Apache-2.0
// A key pair (ECDSA over P-256) that signs certificates and tokens.
//
// Threads: immutable, copies share. Errors name what could not be read or
// done, never the key.
#ifndef FAIRLEAD_USERSPACE_PKI_KEY_H_
#define FAIRLEAD_USERSPACE_PKI_KEY_H_

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead::pki {

class Key {
 public:
  [[nodiscard]] static absl::StatusOr<Key> Generate();
  // PKCS #8 or SEC 1, without a passphrase.
  [[nodiscard]] static absl::StatusOr<Key> FromPem(std::string_view pem);

  // The private key, PKCS #8.
  std::string ToPem() const;
  // Names the public key: base64url of the SHA-256 of its DER form.
  std::string Id() const;

  // ECDSA over SHA-256; the signature is the 32 + 32 bytes of r and s.
  [[nodiscard]] absl::StatusOr<std::string> Sign(std::string_view text) const;
  bool Verify(std::string_view text, std::string_view signature) const;

  EVP_PKEY* native() const { return key_.get(); }

 private:
  explicit Key(EVP_PKEY* key) : key_(key, EVP_PKEY_free) {}
  std::shared_ptr<EVP_PKEY> key_;
};

// What the library's error queue says last; empties it.
std::string LastError();

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_KEY_H_
