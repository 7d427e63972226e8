// SPDX-License-Identifier: Apache-2.0
#include "userspace/pki/authority.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/write_file.h"

namespace fairlead::pki {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoStatus(errno, "open", path);
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

// Reads a key, or makes one if there is none.
absl::StatusOr<Key> OpenKey(const std::string& path) {
  if (fs::exists(path)) {
    FL_ASSIGN_OR_RETURN(const std::string pem, ReadFile(path));
    absl::StatusOr<Key> key = Key::FromPem(pem);
    if (!key.ok()) return WithContext(key.status(), path);
    return key;
  }
  FL_ASSIGN_OR_RETURN(Key key, Key::Generate());
  FL_RETURN_IF_ERROR(WriteFile(path, key.ToPem(), 0600));
  return key;
}

absl::StatusOr<Certificate> MakeAuthority(const Key& key, absl::Time now) {
  CertificateSpec spec;
  spec.subject.common_name = "kubernetes";
  spec.usage = Usage::kAuthority;
  spec.not_before = now - kClockSkew;
  spec.not_after = now + kAuthorityLife;
  return Issue(spec, key, nullptr, key);
}

absl::StatusOr<Certificate> OpenCertificate(const std::string& path,
                                            const Key& key, absl::Time now) {
  if (fs::exists(path)) {
    FL_ASSIGN_OR_RETURN(const std::string pem, ReadFile(path));
    absl::StatusOr<Certificate> read = Certificate::FromPem(pem);
    if (!read.ok()) return WithContext(read.status(), path);
    if (!read->Matches(key)) {
      return absl::FailedPreconditionError(
          StrCat(path, ": the key beside it belongs to another certificate"));
    }
    if (read->not_after() - now > kRenewAuthority) return read;
  }
  FL_ASSIGN_OR_RETURN(Certificate made, MakeAuthority(key, now));
  FL_RETURN_IF_ERROR(WriteFile(path, made.ToPem(), 0644));
  return made;
}

}  // namespace

absl::StatusOr<Authority> Authority::Open(const std::string& folder,
                                          absl::Time now) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return ErrnoStatus(error.value(), "make directory", folder);
  const std::string certificate_path = StrCat(folder, "/ca.crt");
  const std::string key_path = StrCat(folder, "/ca.key");
  if (fs::exists(certificate_path) && !fs::exists(key_path)) {
    return absl::FailedPreconditionError(
        StrCat(certificate_path, " is there, but its key ", key_path,
               " is not: put it back, or remove both and give every client "
               "a new credential"));
  }
  FL_ASSIGN_OR_RETURN(Key key, OpenKey(key_path));
  FL_ASSIGN_OR_RETURN(Certificate certificate,
                      OpenCertificate(certificate_path, key, now));
  FL_ASSIGN_OR_RETURN(Key token_key, OpenKey(StrCat(folder, "/sa.key")));
  return Authority(std::move(certificate), std::move(key),
                   std::move(token_key));
}

absl::StatusOr<Credential> Authority::IssueLeaf(CertificateSpec spec,
                                                absl::Time now) const {
  spec.not_before = now - kClockSkew;
  spec.not_after = now + kLeafLife;
  FL_ASSIGN_OR_RETURN(const Key key, Key::Generate());
  FL_ASSIGN_OR_RETURN(const Certificate certificate,
                      Issue(spec, key, &certificate_, key_));
  return Credential{certificate.ToPem(), key.ToPem()};
}

absl::StatusOr<Credential> Authority::IssueClient(const Subject& subject,
                                                  absl::Time now) const {
  return IssueLeaf({.subject = subject, .usage = Usage::kClient}, now);
}

absl::StatusOr<Credential> Authority::IssueServer(
    const std::string& name, std::vector<std::string> dns_names,
    std::vector<IpAddress> addresses, absl::Time now) const {
  return IssueLeaf({.subject = {.common_name = name},
                    .usage = Usage::kServer,
                    .dns_names = std::move(dns_names),
                    .addresses = std::move(addresses)},
                   now);
}

}  // namespace fairlead::pki
