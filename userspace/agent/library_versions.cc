// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/library_versions.h"

#include <absl/base/config.h>
#include <fmt/core.h>
#include <google/protobuf/stubs/common.h>
#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>
#include <simdjson.h>
#include <spdlog/version.h>

#include <CLI/Version.hpp>
#include <boost/version.hpp>
#include <nlohmann/json.hpp>

#include "userspace/base/strings.h"

#define FL_TEXT(x) #x
#define FL_VALUE(x) FL_TEXT(x)

namespace fairlead::agent {

std::string LibraryVersions() {
  const int protobuf = GOOGLE_PROTOBUF_VERSION;
  return StrCat(
      "libbpf ", FL_LIBBPF_VERSION, "\nOpenSSL ",
      OpenSSL_version(OPENSSL_VERSION_STRING),
      "\nBoost ", BOOST_VERSION / 100000, ".", BOOST_VERSION / 100 % 1000, ".",
      BOOST_VERSION % 100, "\nAbseil ", FL_VALUE(ABSL_LTS_RELEASE_VERSION), ".",
      FL_VALUE(ABSL_LTS_RELEASE_PATCH_LEVEL), "\ngRPC ", grpc::Version(),
      "\nProtocol Buffers ", protobuf / 1000000, ".", protobuf / 1000 % 1000,
      ".", protobuf % 1000, "\nlibnl ", FL_LIBNL_VERSION, "\nsimdjson ",
      FL_VALUE(SIMDJSON_VERSION), "\nnlohmann-json ",
      NLOHMANN_JSON_VERSION_MAJOR, ".", NLOHMANN_JSON_VERSION_MINOR, ".",
      NLOHMANN_JSON_VERSION_PATCH, "\nyaml-cpp ", FL_YAML_CPP_VERSION,
      "\nCLI11 ", CLI11_VERSION, "\nspdlog ", SPDLOG_VER_MAJOR, ".",
      SPDLOG_VER_MINOR, ".", SPDLOG_VER_PATCH, "\nfmt ", FMT_VERSION / 10000,
      ".", FMT_VERSION / 100 % 100, ".", FMT_VERSION % 100);
}

}  // namespace fairlead::agent
