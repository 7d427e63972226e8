// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/tls_source.h"

#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "userspace/base/status.h"

namespace fairlead::kube {
namespace {

constexpr absl::Duration kReadEvery = absl::Seconds(10);

std::string TextOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

absl::StatusOr<TlsSource> TlsSource::Make(const ApiServer& server) {
  TlsSource source;
  FL_ASSIGN_OR_RETURN(source.settings_, TlsSettings::Make(server));
  source.server_ = server;
  return source;
}

const std::shared_ptr<TlsSettings>& TlsSource::Current(absl::Duration now) {
  const bool rotates = !server_.client_certificate_file.empty() ||
                       !server_.client_key_file.empty();
  if (!rotates || now < next_read_) return settings_;
  next_read_ = now + kReadEvery;
  ApiServer read = server_;
  auto update = [](const std::string& file, std::string* pem) {
    if (!file.empty()) *pem = TextOf(file);
  };
  update(read.client_certificate_file, &read.client_certificate_pem);
  update(read.client_key_file, &read.client_key_pem);
  if (read.client_certificate_pem == server_.client_certificate_pem &&
      read.client_key_pem == server_.client_key_pem) {
    return settings_;
  }
  // No certificate at all would be good settings too.
  if (read.client_certificate_pem.empty()) return settings_;
  auto settings = TlsSettings::Make(read);
  if (!settings.ok()) return settings_;
  server_ = std::move(read);
  settings_ = *std::move(settings);
  return settings_;
}

}  // namespace fairlead::kube
