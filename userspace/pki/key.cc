// SPDX-License-Identifier: Apache-2.0
#include "userspace/pki/key.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "absl/strings/escaping.h"
#include "userspace/base/strings.h"

namespace fairlead::pki {
namespace {

constexpr int kScalarBytes = 32;  // of P-256

absl::Status Failed(std::string_view what) {
  return absl::InternalError(StrCat(what, ": ", LastError()));
}

bool IsP256(EVP_PKEY* key) {
  char group[32] = {};
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
         std::string_view(group) == "prime256v1";
}

// A passphrase is never asked for on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

}  // namespace

std::string LastError() {
  char text[256] = "unknown error";
  if (const unsigned long error = ERR_peek_last_error(); error != 0) {
    ERR_error_string_n(error, text, sizeof text);
  }
  ERR_clear_error();
  return text;
}

absl::StatusOr<Key> Key::Generate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  if (key == nullptr) return Failed("generate a key");
  return Key(key);
}

absl::StatusOr<Key> Key::FromPem(std::string_view pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  EVP_PKEY* read =
      PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr);
  if (read == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("not a private key in PEM: ", LastError()));
  }
  Key key(read);
  if (!IsP256(read)) {
    return absl::InvalidArgumentError("the key is not ECDSA over P-256");
  }
  return key;
}

std::string Key::ToPem() const {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()),
                                                BIO_free);
  PEM_write_bio_PKCS8PrivateKey(bio.get(), native(), nullptr, nullptr, 0,
                                nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, size);
}

std::string Key::Id() const {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(native(), &der);
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(der, size, hash);
  OPENSSL_free(der);
  return absl::WebSafeBase64Escape(
      absl::string_view(reinterpret_cast<char*>(hash), sizeof hash));
}

absl::StatusOr<std::string> Key::Sign(std::string_view text) const {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), EVP_MD_CTX_free);
  unsigned char der[160];
  size_t size = sizeof der;
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr,
                         native()) != 1 ||
      EVP_DigestSign(context.get(), der, &size,
                     reinterpret_cast<const unsigned char*>(text.data()),
                     text.size()) != 1) {
    return Failed("sign");
  }
  const unsigned char* at = der;
  std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> signature(
      d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)), ECDSA_SIG_free);
  if (signature == nullptr) return Failed("sign");
  std::string out(2 * kScalarBytes, '\0');
  auto* bytes = reinterpret_cast<unsigned char*>(out.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), bytes, kScalarBytes);
  BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), bytes + kScalarBytes,
               kScalarBytes);
  return out;
}

bool Key::Verify(std::string_view text, std::string_view signature) const {
  if (signature.size() != 2 * kScalarBytes) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(signature.data());
  std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> pair(
      ECDSA_SIG_new(), ECDSA_SIG_free);
  ECDSA_SIG_set0(pair.get(), BN_bin2bn(bytes, kScalarBytes, nullptr),
                 BN_bin2bn(bytes + kScalarBytes, kScalarBytes, nullptr));
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(pair.get(), &der);
  if (size <= 0) return false;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const bool good =
      EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr,
                           native()) == 1 &&
      EVP_DigestVerify(context.get(), der, size,
                       reinterpret_cast<const unsigned char*>(text.data()),
                       text.size()) == 1;
  OPENSSL_free(der);
  ERR_clear_error();
  return good;
}

}  // namespace fairlead::pki
