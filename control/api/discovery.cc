// SPDX-License-Identifier: Apache-2.0
#include "control/api/discovery.h"

#include <openssl/evp.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "control/api/event_versions.h"
#include "control/api/json_access.h"
#include "control/api/openapi.h"
#include "control/api/protobuf_object.h"
#include "control/api/usage_metrics.h"
#include "userspace/base/strings.h"
#include "userspace/kube/resource.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kAggregatedType =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

std::string_view HeaderOf(const kube::Request& request,
                          std::string_view name) {
  for (const auto& [key, value] : request.headers) {
    if (absl::EqualsIgnoreCase(key, Absl(name))) return value;
  }
  return {};
}

kube::Response DocumentResponse(int status, const Json& body, bool pretty) {
  kube::Response response;
  response.status = status;
  response.headers = {{"Cache-Control", "no-cache, private"},
                      {"Content-Type", "application/json"}};
  response.body = pretty ? body.dump(2) : body.dump() + "\n";
  return response;
}

kube::Response StatusResponse(int code, const char* reason,
                              std::string_view message) {
  return DocumentResponse(code,
                      {{"kind", "Status"},
                       {"apiVersion", "v1"},
                       {"metadata", Json::object()},
                       {"status", "Failure"},
                       {"message", message},
                       {"reason", reason},
                       {"details", Json::object()},
                       {"code", code}},
                      false);
}

kube::Response PageNotFound() {
  kube::Response response;
  response.status = 404;
  response.headers = {{"Cache-Control", "no-cache, private"},
                      {"Content-Type", "text/plain; charset=utf-8"},
                      {"X-Content-Type-Options", "nosniff"}};
  response.body = "404 page not found\n";
  return response;
}

kube::Response NotAcceptable() {
  Json status = {{"kind", "Status"},
                 {"apiVersion", "v1"},
                 {"metadata", Json::object()},
                 {"status", "Failure"},
                 {"message",
                  "only the following media types are accepted: "
                  "application/json, application/yaml, "
                  "application/vnd.kubernetes.protobuf"},
                 {"reason", "NotAcceptable"},
                 {"code", 406}};
  return DocumentResponse(406, status, true);
}

std::string EtagOf(std::string_view body) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(body.data(), body.size(), digest, &size, EVP_sha256(), nullptr);
  return StrCat("\"",
                absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(
                    reinterpret_cast<const char*>(digest), size))),
                "\"");
}

// A body that clients keep: 304 when they have this one.
kube::Response Cacheable(const kube::Request& request, std::string body,
                         std::string etag, std::string_view content_type,
                         std::string_view cache_control) {
  kube::Response response;
  response.headers = {{"Cache-Control", std::string(cache_control)},
                      {"ETag", etag},
                      {"Vary", "Accept"}};
  if (HeaderOf(request, "If-None-Match").find(etag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.status = 200;
  response.headers.emplace_back("Content-Type", std::string(content_type));
  response.body = std::move(body);
  return response;
}

enum class Form { kPlain, kProtobuf, kAggregated, kNone };

// The first form in Accept that we have.
Form AcceptedForm(std::string_view accept) {
  if (accept.empty()) return Form::kPlain;
  for (absl::string_view item : absl::StrSplit(Absl(accept), ',')) {
    std::vector<std::string> parts = absl::StrSplit(item, ';');
    for (std::string& part : parts) absl::StripAsciiWhitespace(&part);
    const std::string& type = parts[0];
    if (type == kProtobufType && parts.size() == 1) return Form::kProtobuf;
    if (type != "application/json" && type != "*/*" &&
        type != "application/*") {
      continue;
    }
    auto has = [&](const char* text) {
      return std::find(parts.begin(), parts.end(), text) != parts.end();
    };
    bool converts = std::any_of(parts.begin(), parts.end(), [](const auto& p) {
      return absl::StartsWith(p, "as=");
    });
    if (!converts) return Form::kPlain;
    if (has("as=APIGroupDiscoveryList") && has("v=v2") &&
        has("g=apidiscovery.k8s.io")) {
      return Form::kAggregated;
    }
  }
  return Form::kNone;
}

// Kinds of one group version, by name.
std::vector<const Kind*> KindsOf(const KindTable& kinds, std::string_view group,
                                 std::string_view version) {
  std::vector<const Kind*> out;
  for (const Kind& kind : kinds.kinds()) {
    if (kind.resource.group == group && kind.resource.version == version) {
      out.push_back(&kind);
    }
  }
  std::sort(out.begin(), out.end(), [](const Kind* a, const Kind* b) {
    return a->resource.plural < b->resource.plural;
  });
  return out;
}

struct Group {
  std::string name;
  std::vector<std::string> versions;
};

// In the order of the table; the core group first.
std::vector<Group> GroupsOf(const KindTable& kinds) {
  std::vector<Group> groups;
  for (const Kind& kind : kinds.kinds()) {
    auto it = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.name == kind.resource.group;
    });
    if (it == groups.end()) {
      groups.push_back({kind.resource.group, {}});
      it = groups.end() - 1;
    }
    if (std::find(it->versions.begin(), it->versions.end(),
                  kind.resource.version) == it->versions.end()) {
      it->versions.push_back(kind.resource.version);
    }
  }
  return groups;
}

// status and scale like any other sub-resource.
std::vector<Subresource> AllSubresources(const Kind& kind) {
  std::vector<Subresource> out = kind.subresources;
  std::vector<std::string> verbs = {"get", "patch", "update"};
  if (kind.has_scale) {
    out.push_back({"scale", "autoscaling", "v1", "Scale", verbs});
  }
  if (kind.has_status) {
    out.push_back({"status", "", "", kind.resource.kind, verbs});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return a.name < b.name;
  });
  return out;
}

// How clients tell that a kind's stored version has changed: the first eight
// bytes of the hash of the name that it is stored by.
std::string StorageVersionHash(const Kind& kind) {
  const kube::Resource& resource =
      IsNewerEvent(kind) ? kube::Events() : kind.resource;
  std::string name =
      StrCat(resource.group, "/", resource.version, "/", resource.kind);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(name.data(), name.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::Base64Escape(
      absl::string_view(reinterpret_cast<const char*>(digest), 8));
}

Json PlainResource(const Kind& kind) {
  Json out = {{"name", kind.resource.plural},
              {"singularName", kind.singular},
              {"namespaced", kind.resource.namespaced},
              {"kind", kind.resource.kind},
              {"verbs", VerbsOf(kind)}};
  if (!kind.short_names.empty()) out["shortNames"] = kind.short_names;
  if (!kind.categories.empty()) out["categories"] = kind.categories;
  if (!kind.review && !IsUsageMetrics(kind)) {
    out["storageVersionHash"] = StorageVersionHash(kind);
  }
  return out;
}

Json ResourceList(const KindTable& kinds, std::string_view group,
                  std::string_view version) {
  Json resources = Json::array();
  for (const Kind* kind : KindsOf(kinds, group, version)) {
    resources.push_back(PlainResource(*kind));
    for (const Subresource& sub : AllSubresources(*kind)) {
      Json each = {{"name", StrCat(kind->resource.plural, "/", sub.name)},
                   {"singularName", ""},
                   {"namespaced", kind->resource.namespaced},
                   {"kind", sub.kind},
                   {"verbs", sub.verbs}};
      if (!sub.version.empty()) {
        each["group"] = sub.group;
        each["version"] = sub.version;
      }
      resources.push_back(std::move(each));
    }
  }
  Json list = {
      {"kind", "APIResourceList"},
      {"groupVersion",
       group.empty() ? std::string(version) : StrCat(group, "/", version)},
      {"resources", std::move(resources)}};
  if (!group.empty()) list["apiVersion"] = "v1";
  return list;
}

Json AggregatedResource(const Kind& kind) {
  auto response_kind = [](std::string_view group, std::string_view version,
                          std::string_view name) {
    return Json{{"group", group}, {"version", version}, {"kind", name}};
  };
  // Empty group and version: those that the resource is listed under.
  Json out = {{"resource", kind.resource.plural},
              {"responseKind", response_kind("", "", kind.resource.kind)},
              {"scope", kind.resource.namespaced ? "Namespaced" : "Cluster"},
              {"singularResource", kind.singular},
              {"verbs", VerbsOf(kind)}};
  if (!kind.short_names.empty()) out["shortNames"] = kind.short_names;
  if (!kind.categories.empty()) out["categories"] = kind.categories;
  Json subs = Json::array();
  for (const Subresource& sub : AllSubresources(kind)) {
    subs.push_back({{"subresource", sub.name},
                    {"responseKind",
                     response_kind(sub.group, sub.version, sub.kind)},
                    {"verbs", sub.verbs}});
  }
  if (!subs.empty()) out["subresources"] = std::move(subs);
  return out;
}

Json AggregatedList(const KindTable& kinds, bool core) {
  Json items = Json::array();
  for (const Group& group : GroupsOf(kinds)) {
    if (group.name.empty() != core) continue;
    Json versions = Json::array();
    for (const std::string& version : group.versions) {
      Json resources = Json::array();
      for (const Kind* kind : KindsOf(kinds, group.name, version)) {
        resources.push_back(AggregatedResource(*kind));
      }
      versions.push_back({{"version", version},
                          {"resources", std::move(resources)},
                          {"freshness", "Current"}});
    }
    Json metadata = Json::object();
    if (!core) metadata["name"] = group.name;
    items.push_back({{"metadata", std::move(metadata)},
                     {"versions", std::move(versions)}});
  }
  return {{"kind", "APIGroupDiscoveryList"},
          {"apiVersion", "apidiscovery.k8s.io/v2"},
          {"metadata", Json::object()},
          {"items", std::move(items)}};
}

Json PlainGroup(const Group& group) {
  Json versions = Json::array();
  for (const std::string& version : group.versions) {
    versions.push_back({{"groupVersion", StrCat(group.name, "/", version)},
                        {"version", version}});
  }
  Json preferred = versions[0];
  return {{"name", group.name},
          {"versions", std::move(versions)},
          {"preferredVersion", std::move(preferred)}};
}

Json PlainRoot(const KindTable& kinds, bool core) {
  if (core) {
    return {{"kind", "APIVersions"},
            {"versions", {"v1"}},
            {"serverAddressByClientCIDRs",
             Json::array({{{"clientCIDR", "0.0.0.0/0"},
                           {"serverAddress", ""}}})}};
  }
  Json groups = Json::array();
  for (const Group& group : GroupsOf(kinds)) {
    if (!group.name.empty()) groups.push_back(PlainGroup(group));
  }
  return {{"kind", "APIGroupList"},
          {"apiVersion", "v1"},
          {"groups", std::move(groups)}};
}

// The Kubernetes version that this API is a part of; clients go by it.
Json Version() {
  return {{"major", "1"},
          {"minor", "36"},
          {"emulationMajor", "1"},
          {"emulationMinor", "36"},
          {"minCompatibilityMajor", "1"},
          {"minCompatibilityMinor", "35"},
          {"gitVersion", "v1.36.2+fairlead"},
          {"gitCommit", ""},
          {"gitTreeState", "clean"},
          {"buildDate", "1970-01-01T00:00:00Z"},
          {"goVersion", ""},
          {"compiler", "g++"},
          {"platform", "linux/amd64"}};
}

kube::Response ServeRoot(const kube::Request& request, const KindTable& kinds,
                         bool core, bool pretty) {
  switch (AcceptedForm(HeaderOf(request, "Accept"))) {
    case Form::kNone:
      return NotAcceptable();
    case Form::kPlain:
      return DocumentResponse(200, PlainRoot(kinds, core), pretty);
    case Form::kProtobuf: {
      kube::Response response = DocumentResponse(200, Json(), false);
      response.headers.back().second = std::string(kProtobufType);
      response.body =
          ProtobufObjects(&kinds).Encode(PlainRoot(kinds, core)).value();
      return response;
    }
    case Form::kAggregated:
      break;
  }
  std::string body = AggregatedList(kinds, core).dump();
  std::string etag = EtagOf(body);
  return Cacheable(request, std::move(body), std::move(etag), kAggregatedType,
                   "public");
}

// "api/v1", "apis/apps/v1" -> its document, or the index for "".
kube::Response ServeOpenApi(const kube::Request& request,
                            const KindTable& kinds, std::string_view path) {
  std::string hash = OpenApiHash(kinds);
  Json paths = Json::object();
  for (const Group& group : GroupsOf(kinds)) {
    for (const std::string& version : group.versions) {
      std::string name = group.name.empty()
                             ? StrCat("api/", version)
                             : StrCat("apis/", group.name, "/", version);
      if (path == name) {
        std::string etag = StrCat("\"", hash, "\"");
        // The hash in the address makes it good for ever.
        bool pinned = request.target.find("hash=") != std::string::npos;
        bool known = HeaderOf(request, "If-None-Match").find(etag) !=
                     std::string_view::npos;
        return Cacheable(
            request,
            known ? "" : OpenApiDocument(kinds, group.name, version), etag,
            "application/json",
            pinned ? "public, immutable" : "no-cache, private");
      }
      paths[name] = {{"serverRelativeURL",
                      StrCat("/openapi/v3/", name, "?hash=", hash)}};
    }
  }
  if (!path.empty()) return PageNotFound();
  std::string body = Json{{"paths", std::move(paths)}}.dump();
  std::string etag = EtagOf(body);
  return Cacheable(request, std::move(body), std::move(etag),
                   "application/json", "no-cache, private");
}

// A field of protobuf's wire format that holds bytes, fewer than 128.
std::string ProtoBytes(int field, std::string_view bytes) {
  std::string out;
  out += static_cast<char>(field << 3 | 2);
  out += static_cast<char>(bytes.size());
  out += bytes;
  return out;
}

// Version 2 without a schema: those are in version 3. Clients ask here for a
// kind that they did not find there, and must be told that it isn't here
// either, or they say that the schemas can't be read.
kube::Response ServeOpenApi2(const kube::Request& request) {
  // Asked for with an "@", which a media type may not have: answered without.
  constexpr std::string_view kAsked = "proto-openapi.spec.v2@v1.0+protobuf";
  constexpr std::string_view kProto =
      "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
  constexpr std::string_view kTitle = "Kubernetes";
  std::string version = Version()["gitVersion"];
  std::string body;
  std::string_view accept = HeaderOf(request, "Accept");
  bool proto = accept.find(kAsked) != std::string_view::npos ||
               accept.find(kProto) != std::string_view::npos;
  if (proto) {
    // openapi.v2.Document: swagger = 1, info = 2 {title = 1, version = 2},
    // paths = 8.
    body = StrCat(ProtoBytes(1, "2.0"),
                  ProtoBytes(2, StrCat(ProtoBytes(1, kTitle),
                                       ProtoBytes(2, version))),
                  ProtoBytes(8, ""));
  } else {
    body = Json{{"swagger", "2.0"},
                {"info", {{"title", kTitle}, {"version", version}}},
                {"paths", Json::object()},
                {"definitions", Json::object()}}
               .dump();
  }
  std::string etag = EtagOf(body);
  return Cacheable(request, std::move(body), std::move(etag),
                   proto ? kProto : "application/json",
                   "no-cache, private");
}

// The document of the group, or of the group version, that `parts` names.
kube::Response ServeGroup(const KindTable& kinds, std::string_view group,
                          std::string_view version, bool pretty) {
  for (const Group& each : GroupsOf(kinds)) {
    if (each.name != group) continue;
    if (version.empty()) {
      Json body = PlainGroup(each);
      body["kind"] = "APIGroup";
      body["apiVersion"] = "v1";
      return DocumentResponse(200, body, pretty);
    }
    if (std::find(each.versions.begin(), each.versions.end(), version) ==
        each.versions.end()) {
      return StatusResponse(404, "NotFound",
                            "the server could not find the requested resource");
    }
    return DocumentResponse(200, ResourceList(kinds, group, version), pretty);
  }
  return PageNotFound();
}

}  // namespace

kube::Response ListPaths(const KindTable& kinds,
                         const std::vector<std::string>& others) {
  std::set<std::string> paths = {"/api",        "/apis",       "/apis/",
                                 "/metrics",    "/openapi/v2", "/openapi/v3",
                                 "/version"};
  paths.insert(others.begin(), others.end());
  for (const Kind& kind : kinds.kinds()) {
    const kube::Resource& resource = kind.resource;
    std::string root = "/api";
    if (!resource.group.empty()) {
      root = StrCat("/apis/", resource.group);
      paths.insert(root);
    }
    paths.insert(StrCat(root, "/", resource.version));
    paths.insert(StrCat("/openapi/v3", root, "/", resource.version));
  }
  return DocumentResponse(200, {{"paths", Json(paths)}}, true);
}

std::optional<kube::Response> ServeDiscovery(const kube::Request& request,
                                             const KindTable& kinds) {
  std::string_view path = request.target;
  std::string_view query;
  if (size_t mark = path.find('?'); mark != std::string_view::npos) {
    query = path.substr(mark + 1);
    path = path.substr(0, mark);
  }
  std::vector<std::string> parts =
      absl::StrSplit(Absl(path), '/', absl::SkipEmpty());
  if (parts.empty()) return std::nullopt;

  const std::string& root = parts[0];
  bool core = root == "api" && parts.size() <= 2;
  bool groups = root == "apis" && parts.size() <= 3;
  bool version = root == "version" && parts.size() == 1;
  bool openapi = root == "openapi";
  if (!core && !groups && !version && !openapi) return std::nullopt;
  if (request.method != "GET") {
    return StatusResponse(
        405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource");
  }

  bool pretty = HeaderOf(request, "User-Agent").starts_with("curl/") ||
                query.find("pretty=1") != std::string_view::npos ||
                query.find("pretty=true") != std::string_view::npos;
  if (version) return DocumentResponse(200, Version(), true);
  if (openapi) {
    if (parts.size() == 2 && parts[1] == "v2") return ServeOpenApi2(request);
    if (parts.size() < 2 || parts[1] != "v3") return PageNotFound();
    size_t at = path.find("/v3") + 3;
    std::string_view rest = path.substr(at);
    while (rest.starts_with("/")) rest.remove_prefix(1);
    return ServeOpenApi(request, kinds, rest);
  }
  if (parts.size() == 1) return ServeRoot(request, kinds, core, pretty);
  if (core) return ServeGroup(kinds, "", parts[1], pretty);
  return ServeGroup(kinds, parts[1],
                    parts.size() == 3 ? std::string_view(parts[2])
                                      : std::string_view(),
                    pretty);
}

}  // namespace fairlead::api
