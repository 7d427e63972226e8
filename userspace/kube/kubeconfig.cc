// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/kubeconfig.h"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoStatus(errno, "open", path);
  std::ostringstream content;
  content << file.rdbuf();
  if (file.bad()) return ErrnoStatus(EIO, "read", path);
  return std::move(content).str();
}

std::string Text(const YAML::Node& map, const char* key) {
  if (!map.IsMap()) return "";
  YAML::Node node = map[key];
  return node.IsDefined() && node.IsScalar() ? node.Scalar() : "";
}

// The `inner` map of the entry of `list` (clusters, users, contexts) that has
// this name.
absl::StatusOr<YAML::Node> Entry(const YAML::Node& root, const char* list,
                                 const char* inner, const std::string& name) {
  YAML::Node entries = root[list];
  if (entries.IsDefined() && entries.IsSequence()) {
    for (const YAML::Node& entry : entries) {
      if (Text(entry, "name") != name) continue;
      YAML::Node value = entry[inner];
      if (value.IsDefined() && value.IsMap()) return value;
      if (value.IsDefined() && value.IsNull()) {
        return YAML::Node(YAML::NodeType::Map);
      }
      break;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s has no entry \"%s\" with a %s", list, name, inner));
}

// A PEM given inline in base64 ("KEY-data") or as a file's name ("KEY"), which
// `*file` is then.
absl::StatusOr<std::string> DataOrFile(const YAML::Node& map, const char* key,
                                       const std::string& folder,
                                       std::string* file = nullptr) {
  std::string data = Text(map, StrCat(key, "-data").c_str());
  if (!data.empty()) {
    std::string decoded;
    if (!absl::Base64Unescape(data, &decoded)) {
      return absl::InvalidArgumentError(StrCat(key, "-data is not base64"));
    }
    return decoded;
  }
  std::string path = Text(map, key);
  if (path.empty()) return std::string();
  if (path[0] != '/' && !folder.empty()) path = StrCat(folder, "/", path);
  auto content = ReadFile(path);
  if (!content.ok()) return WithContext(content.status(), key);
  if (file != nullptr) *file = path;
  return content;
}

absl::Status ReadUser(const YAML::Node& user, const std::string& folder,
                      ApiServer* server) {
  for (const char* unsupported : {"exec", "auth-provider", "username", "as"}) {
    if (user[unsupported].IsDefined()) {
      return absl::UnimplementedError(StrCat(
          "users: \"", unsupported,
          "\" is not supported; use a token or a client certificate"));
    }
  }
  server->bearer_token = Text(user, "token");
  std::string token_file = Text(user, "tokenFile");
  if (server->bearer_token.empty() && !token_file.empty()) {
    if (token_file[0] != '/' && !folder.empty()) {
      token_file = StrCat(folder, "/", token_file);
    }
    FL_ASSIGN_OR_RETURN(server->bearer_token, ReadFile(token_file));
    absl::StripTrailingAsciiWhitespace(&server->bearer_token);
    server->bearer_token_file = token_file;
  }
  FL_ASSIGN_OR_RETURN(server->client_certificate_pem,
                      DataOrFile(user, "client-certificate", folder,
                                 &server->client_certificate_file));
  FL_ASSIGN_OR_RETURN(server->client_key_pem,
                      DataOrFile(user, "client-key", folder,
                                 &server->client_key_file));
  if (server->client_certificate_pem.empty() !=
      server->client_key_pem.empty()) {
    return absl::InvalidArgumentError(
        "users: client-certificate and client-key must be given together");
  }
  return absl::OkStatus();
}

absl::StatusOr<ApiServer> FromYaml(const YAML::Node& root,
                                   const std::string& folder) {
  if (!root.IsMap()) return absl::InvalidArgumentError("not a YAML map");
  std::string current = Text(root, "current-context");
  if (current.empty()) {
    return absl::InvalidArgumentError("current-context is not set");
  }
  FL_ASSIGN_OR_RETURN(YAML::Node context,
                      Entry(root, "contexts", "context", current));
  FL_ASSIGN_OR_RETURN(
      YAML::Node cluster,
      Entry(root, "clusters", "cluster", Text(context, "cluster")));
  ApiServer server;
  server.url = Text(cluster, "server");
  if (server.url.empty()) {
    return absl::InvalidArgumentError("clusters: server is not set");
  }
  if (!Text(cluster, "proxy-url").empty()) {
    return absl::UnimplementedError(
        "clusters: \"proxy-url\" is not supported; name a server that can be "
        "reached directly");
  }
  server.insecure_skip_verify =
      Text(cluster, "insecure-skip-tls-verify") == "true";
  server.tls_server_name = Text(cluster, "tls-server-name");
  FL_ASSIGN_OR_RETURN(server.ca_pem,
                      DataOrFile(cluster, "certificate-authority", folder));
  if (server.insecure_skip_verify && !server.ca_pem.empty()) {
    return absl::InvalidArgumentError(
        "clusters: certificate-authority means nothing with "
        "insecure-skip-tls-verify; give one of them");
  }
  if (std::string user = Text(context, "user"); !user.empty()) {
    FL_ASSIGN_OR_RETURN(YAML::Node entry, Entry(root, "users", "user", user));
    FL_RETURN_IF_ERROR(ReadUser(entry, folder, &server));
  }
  return server;
}

absl::StatusOr<ApiServer> Parse(std::string_view yaml,
                                const std::string& folder) {
  // yaml-cpp recurses; its own depth guard throws too.
  try {
    return FromYaml(YAML::Load(std::string(yaml)), folder);
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(StrCat("not valid YAML: ", e.what()));
  }
}

}  // namespace

absl::StatusOr<ApiServer> LoadKubeconfig(const std::string& path) {
  auto read = [&]() -> absl::StatusOr<ApiServer> {
    FL_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
    size_t slash = path.rfind('/');
    return Parse(text, slash == std::string::npos ? "" : path.substr(0, slash));
  };
  auto server = read();
  if (!server.ok()) {
    return WithContext(server.status(), StrCat("kubeconfig ", path));
  }
  return server;
}

absl::StatusOr<ApiServer> ParseKubeconfig(std::string_view yaml) {
  return Parse(yaml, "");
}

std::string MakeKubeconfig(std::string_view name, const ApiServer& server) {
  auto data = [](const char* key, const std::string& pem) {
    return pem.empty() ? std::string()
                       : StrCat("    ", key, "-data: ",
                                absl::Base64Escape(pem), "\n");
  };
  auto credential = [&](const char* key, const std::string& pem,
                        const std::string& file) {
    return file.empty() ? data(key, pem)
                        : StrCat("    ", key, ": ", file, "\n");
  };
  std::string user =
      StrCat(credential("client-certificate", server.client_certificate_pem,
                        server.client_certificate_file),
             credential("client-key", server.client_key_pem,
                        server.client_key_file));
  if (!server.bearer_token.empty()) {
    StrAppend(&user, "    token: ", server.bearer_token, "\n");
  }
  return StrCat(
      "apiVersion: v1\n"
      "kind: Config\n"
      "clusters:\n"
      "- name: ", name, "\n"
      "  cluster:\n"
      "    server: ", server.url, "\n",
      data("certificate-authority", server.ca_pem),
      "contexts:\n"
      "- name: ", name, "\n"
      "  context:\n"
      "    cluster: ", name, "\n"
      "    user: ", name, "\n"
      "users:\n"
      "- name: ", name, "\n",
      user.empty() ? std::string("  user: {}\n") : StrCat("  user:\n", user),
      "current-context: ", name, "\n");
}

}  // namespace fairlead::kube
