// SPDX-License-Identifier: Apache-2.0
#include "userspace/pki/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::pki {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string TextOf(const X509_NAME_ENTRY* entry) {
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry));
  if (size < 0) return "";
  std::string out(reinterpret_cast<char*>(text), size);
  OPENSSL_free(text);
  return out;
}

bool AddName(X509_NAME* name, int nid, const std::string& text) {
  return X509_NAME_add_entry_by_NID(
             name, nid, MBSTRING_UTF8,
             reinterpret_cast<const unsigned char*>(text.data()),
             static_cast<int>(text.size()), -1, 0) == 1;
}

bool AddExtension(X509* certificate, X509V3_CTX* context, int nid,
                  const std::string& value) {
  std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, context, nid, value.c_str()));
  return extension != nullptr &&
         X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool SetSubject(X509* certificate, const Subject& subject) {
  X509_NAME* name = X509_get_subject_name(certificate);
  bool good = true;
  for (const std::string& organization : subject.organizations) {
    good &= AddName(name, NID_organizationName, organization);
  }
  return good && AddName(name, NID_commonName, subject.common_name);
}

bool SetSerial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] &= 0x7f;  // positive
  std::unique_ptr<BIGNUM, Deleter<BN_free>> number(
      BN_bin2bn(bytes, sizeof bytes, nullptr));
  return BN_to_ASN1_INTEGER(number.get(),
                            X509_get_serialNumber(certificate)) != nullptr;
}

bool SetTimes(X509* certificate, absl::Time from, absl::Time until) {
  return ASN1_TIME_set(X509_getm_notBefore(certificate),
                       absl::ToTimeT(from)) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate),
                       absl::ToTimeT(until)) != nullptr;
}

std::string AlternativeNames(const CertificateSpec& spec) {
  std::string out;
  for (const std::string& name : spec.dns_names) {
    StrAppend(&out, out.empty() ? "" : ",", "DNS:", name);
  }
  for (const IpAddress& address : spec.addresses) {
    StrAppend(&out, out.empty() ? "" : ",", "IP:", address.ToString());
  }
  return out;
}

bool SetExtensions(X509* certificate, X509* issuer,
                   const CertificateSpec& spec) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  auto add = [&](int nid, const std::string& value) {
    return AddExtension(certificate, &context, nid, value);
  };
  bool good = add(NID_subject_key_identifier, "hash") &&
              add(NID_authority_key_identifier, "keyid:always");
  if (spec.usage == Usage::kAuthority) {
    return good && add(NID_basic_constraints, "critical,CA:TRUE") &&
           add(NID_key_usage, "critical,digitalSignature,keyCertSign");
  }
  good = good && add(NID_basic_constraints, "critical,CA:FALSE") &&
         add(NID_key_usage, "critical,digitalSignature") &&
         add(NID_ext_key_usage,
             spec.usage == Usage::kServer ? "serverAuth" : "clientAuth");
  const std::string names = AlternativeNames(spec);
  return good && (names.empty() || add(NID_subject_alt_name, names));
}

}  // namespace

absl::StatusOr<Certificate> Certificate::FromPem(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  X509* read = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
  if (read == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("not a certificate in PEM: ", LastError()));
  }
  return Certificate(read);
}

Certificate Certificate::FromNative(X509* certificate) {
  X509_up_ref(certificate);
  return Certificate(certificate);
}

std::string Certificate::ToPem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), native());
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, size);
}

Subject Certificate::subject() const {
  Subject subject;
  const X509_NAME* name = X509_get_subject_name(native());
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
    const int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    if (nid == NID_commonName) subject.common_name = TextOf(entry);
    if (nid == NID_organizationName) {
      subject.organizations.push_back(TextOf(entry));
    }
  }
  return subject;
}

absl::Time Certificate::not_before() const {
  return TimeOf(X509_get0_notBefore(native()));
}
absl::Time Certificate::not_after() const {
  return TimeOf(X509_get0_notAfter(native()));
}

bool Certificate::Matches(const Key& key) const {
  const bool matches = X509_check_private_key(native(), key.native()) == 1;
  ERR_clear_error();
  return matches;
}

absl::StatusOr<Certificate> Issue(const CertificateSpec& spec, const Key& key,
                                  const Certificate* issuer,
                                  const Key& issuer_key) {
  Certificate out = Certificate::FromNative(X509_new());
  X509* made = out.native();
  X509_free(made);  // FromNative holds a reference of its own
  const bool good =
      X509_set_version(made, X509_VERSION_3) == 1 && SetSerial(made) &&
      SetSubject(made, spec.subject) &&
      X509_set_issuer_name(
          made, X509_get_subject_name(issuer ? issuer->native() : made)) ==
          1 &&
      SetTimes(made, spec.not_before, spec.not_after) &&
      X509_set_pubkey(made, key.native()) == 1 &&
      SetExtensions(made, issuer ? issuer->native() : made, spec) &&
      X509_sign(made, issuer_key.native(), EVP_sha256()) > 0;
  if (!good) {
    return absl::InternalError(StrCat("make a certificate for ",
                                      spec.subject.common_name, ": ",
                                      LastError()));
  }
  return out;
}

absl::Status VerifyClient(const Certificate& authority,
                          const Certificate& certificate, absl::Time now) {
  const std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>> trusted(
      X509_STORE_new());
  X509_STORE_add_cert(trusted.get(), authority.native());
  const std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>> context(
      X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), trusted.get(), certificate.native(),
                      nullptr);
  X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_CLIENT);
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(now));
  const bool good = X509_verify_cert(context.get()) == 1;
  const int error = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  if (good) return absl::OkStatus();
  return absl::UnauthenticatedError(
      StrCat("client certificate: ", X509_verify_cert_error_string(error)));
}

}  // namespace fairlead::pki
