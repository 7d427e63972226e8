// SPDX-License-Identifier: Apache-2.0
// A certificate authority for the length of a test.
#ifndef FAIRLEAD_TESTS_UNIT_TEST_CERTIFICATES_H_
#define FAIRLEAD_TESTS_UNIT_TEST_CERTIFICATES_H_

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace fairlead::kube {

struct Deleter {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

struct Pem {
  std::string certificate;
  std::string key;
};

class TestAuthority {
 public:
  TestAuthority() : key_(EVP_EC_gen("P-256")) {
    certificate_ = Issue(key_.get(), "test-ca", "", 3600, true);
  }
  std::string pem() const { return Text(certificate_.get()); }

  // `names`: "IP:127.0.0.1,DNS:a"; "": none. Ends in `seconds` (< 0: ended).
  Pem Make(const std::string& subject, const std::string& names,
           int seconds = 3600) const {
    Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
    Owned<X509> made = Issue(key.get(), subject, names, seconds, false);
    Owned<BIO> out(BIO_new(BIO_s_mem()));
    PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0,
                             nullptr, nullptr);
    return {Text(made.get()), Take(out.get())};
  }

 private:
  static std::string Take(BIO* bio) {
    char* data = nullptr;
    long size = BIO_get_mem_data(bio, &data);
    return std::string(data, static_cast<size_t>(size));
  }
  static std::string Text(X509* certificate) {
    Owned<BIO> out(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(out.get(), certificate);
    return Take(out.get());
  }

  Owned<X509> Issue(EVP_PKEY* key, const std::string& subject,
                    const std::string& names, int seconds, bool ca) const {
    Owned<X509> made(X509_new());
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -7200);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), seconds);
    X509_set_pubkey(made.get(), key);
    X509_NAME_add_entry_by_txt(
        X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
        reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
    X509* issuer = certificate_ != nullptr ? certificate_.get() : made.get();
    X509_set_issuer_name(made.get(), X509_get_subject_name(issuer));
    auto extend = [&](int what, const std::string& value) {
      Owned<X509_EXTENSION> extension(
          X509V3_EXT_conf_nid(nullptr, nullptr, what, value.c_str()));
      X509_add_ext(made.get(), extension.get(), -1);
    };
    if (ca) extend(NID_basic_constraints, "critical,CA:TRUE");
    if (!names.empty()) extend(NID_subject_alt_name, names);
    X509_sign(made.get(), key_.get(), EVP_sha256());
    return made;
  }

  mutable long serial_ = 0;
  Owned<EVP_PKEY> key_;
  Owned<X509> certificate_;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_TESTS_UNIT_TEST_CERTIFICATES_H_
