// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/apply.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/output.h"
#include "userspace/kube/resource.h"
#include "userspace/kube/yaml.h"

namespace fairlead::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// Where client-side apply keeps what it applied last; kubectl's own name, so
// that the two can take turns.
constexpr char kLastApplied[] =
    "kubectl.kubernetes.io/last-applied-configuration";

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::stringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(StrCat("can't read ", path));
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> ExpandFolders(const std::vector<std::string>& files) {
  std::vector<std::string> out;
  for (const std::string& path : files) {
    if (!fs::is_directory(path)) {
      out.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    for (const auto& entry : fs::directory_iterator(path)) {
      std::string extension = entry.path().extension();
      if (extension == ".yaml" || extension == ".yml" || extension == ".json")
        inside.push_back(entry.path());
    }
    std::sort(inside.begin(), inside.end());
    out.insert(out.end(), inside.begin(), inside.end());
  }
  return out;
}

absl::StatusOr<std::vector<json>> ReadObjects(const std::string& path) {
  FL_ASSIGN_OR_RETURN(std::string text, ReadText(path));
  auto documents = kube::JsonFromYaml(text);
  if (!documents.ok()) return WithContext(documents.status(), path);
  std::vector<json> objects;
  for (json& document : *documents) {
    if (!document.is_object() || !document.value("kind", json()).is_string() ||
        !document.value("apiVersion", json()).is_string()) {
      return absl::InvalidArgumentError(
          StrCat(path, ": an object has no kind or no apiVersion"));
    }
    if (document["kind"] == "List" && document["items"].is_array()) {
      for (json& item : document["items"]) objects.push_back(std::move(item));
    } else {
      objects.push_back(std::move(document));
    }
  }
  return objects;
}

std::string DiscoveryPath(const std::string& api_version) {
  return StrCat(absl::StrContains(api_version, "/") ? "/apis/" : "/api/",
                api_version);
}

// What the server calls the objects of this kind.
absl::StatusOr<kube::Resource> FindResource(ApiSession& api,
                                            const std::string& api_version,
                                            const std::string& kind) {
  FL_ASSIGN_OR_RETURN(json list, api.GetJson(DiscoveryPath(api_version)));
  size_t slash = api_version.find('/');
  for (const json& row : list["resources"]) {
    std::string plural = row.value("name", "");
    if (row.value("kind", "") != kind || absl::StrContains(plural, "/"))
      continue;
    kube::Resource resource;
    resource.group =
        slash == std::string::npos ? "" : api_version.substr(0, slash);
    resource.version =
        slash == std::string::npos ? api_version : api_version.substr(slash + 1);
    resource.plural = plural;
    resource.kind = kind;
    resource.namespaced = row.value("namespaced", true);
    return resource;
  }
  return absl::NotFoundError(
      StrCat("the server has no kind \"", kind, "\" in ", api_version));
}

// "deployment.apps/web", as kubectl names objects.
std::string DisplayName(const kube::Resource& resource,
                        const std::string& name) {
  std::string kind = absl::AsciiStrToLower(resource.kind);
  return StrCat(kind, resource.group.empty() ? "" : ".", resource.group, "/",
                name);
}

json WithLastApplied(json object) {
  json& annotations = object["metadata"]["annotations"];
  if (annotations.is_null()) annotations = json::object();
  annotations.erase(kLastApplied);
  std::string text = object.dump() + "\n";
  object["metadata"]["annotations"][kLastApplied] = text;
  return object;
}

absl::StatusOr<std::string> ApplyOne(ApiSession& api, json object,
                                     const std::string& default_namespace) {
  std::string api_version = object["apiVersion"], kind = object["kind"];
  FL_ASSIGN_OR_RETURN(kube::Resource resource,
                      FindResource(api, api_version, kind));
  json& metadata = object["metadata"];
  std::string name = metadata.is_object() ? metadata.value("name", "") : "";
  if (name.empty())
    return absl::InvalidArgumentError(StrCat(kind, ": metadata.name is empty"));
  if (resource.namespaced && !metadata.contains("namespace"))
    metadata["namespace"] = default_namespace;
  std::string ns = resource.namespaced ? metadata.value("namespace", "") : "";
  object = WithLastApplied(std::move(object));

  absl::StatusOr<json> live = api.GetJson(resource.Path(ns, name));
  if (absl::IsNotFound(live.status())) {
    FL_ASSIGN_OR_RETURN(
        kube::Response created,
        api.Do({.method = "POST",
                .target = StrCat(resource.Path(ns, ""),
                                 "?fieldValidation=Strict"),
                .headers = {{"Content-Type", "application/json"}},
                .body = object.dump()}));
    (void)created;
    return StrCat(DisplayName(resource, name), " created");
  }
  FL_RETURN_IF_ERROR(live.status());
  json last = json::parse(
      (*live)["metadata"].value("annotations", json::object())
          .value(kLastApplied, "{}"),
      nullptr, false);
  json patch = ThreeWayMergePatch(last, object, *live);
  if (patch.empty()) return StrCat(DisplayName(resource, name), " unchanged");
  FL_ASSIGN_OR_RETURN(
      kube::Response patched,
      api.Do({.method = "PATCH",
              .target = StrCat(resource.Path(ns, name),
                               "?fieldValidation=Strict"),
              .headers = {{"Content-Type", "application/merge-patch+json"}},
              .body = patch.dump()}));
  (void)patched;
  return StrCat(DisplayName(resource, name), " configured");
}

bool Matches(const json& row, const std::string& word) {
  if (row.value("name", "") == word || row.value("singularName", "") == word ||
      absl::AsciiStrToLower(row.value("kind", "")) == word)
    return true;
  for (const json& alias : row.value("shortNames", json::array()))
    if (alias == word) return true;
  return false;
}

// The resource that people call `word` ("po", "deploy", "deployments.apps").
absl::StatusOr<kube::Resource> FindByWord(ApiSession& api, std::string word) {
  size_t dot = word.find('.');
  std::string group = dot == word.npos ? "" : word.substr(dot + 1);
  word = word.substr(0, dot);
  std::vector<std::string> versions = {"v1"};
  FL_ASSIGN_OR_RETURN(json groups, api.GetJson("/apis"));
  for (const json& row : groups["groups"])
    versions.push_back(row["preferredVersion"].value("groupVersion", ""));
  for (const std::string& version : versions) {
    if (!group.empty() && !absl::StartsWith(version, group + "/")) continue;
    FL_ASSIGN_OR_RETURN(json list, api.GetJson(DiscoveryPath(version)));
    for (const json& row : list["resources"]) {
      if (Matches(row, word))
        return FindResource(api, version, row.value("kind", ""));
    }
  }
  return absl::InvalidArgumentError(
      StrCat("the server doesn't have a resource type \"", word, "\""));
}

std::string CellText(const json& cell) {
  return cell.is_string() ? cell.get<std::string>() : cell.dump();
}

void PrintTable(const json& table, const GetOptions& options) {
  std::vector<std::string> header;
  std::vector<size_t> shown;
  if (options.all_namespaces) header.push_back("NAMESPACE");
  const json& columns = table["columnDefinitions"];
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].value("priority", 0) > 0 && options.output != "wide")
      continue;
    header.push_back(absl::AsciiStrToUpper(columns[i].value("name", "")));
    shown.push_back(i);
  }
  TextTable text(std::move(header));
  for (const json& row : table["rows"]) {
    std::vector<std::string> cells;
    if (options.all_namespaces)
      cells.push_back(row["object"]["metadata"].value("namespace", ""));
    for (size_t i : shown) cells.push_back(CellText(row["cells"][i]));
    text.AddRow(std::move(cells));
  }
  if (text.rows() == 0) {
    std::fprintf(stderr, "No resources found\n");
    return;
  }
  std::fputs(text.ToString().c_str(), stdout);
}

}  // namespace

json ThreeWayMergePatch(const json& last, const json& wanted,
                        const json& live) {
  json patch = json::object();
  for (const auto& [key, value] : wanted.items()) {
    const json* now = live.contains(key) ? &live[key] : nullptr;
    if (now == nullptr) {
      patch[key] = value;
    } else if (value.is_object() && now->is_object()) {
      json before = last.is_object() ? last.value(key, json::object()) : json();
      json inner = ThreeWayMergePatch(before, value, *now);
      if (!inner.empty()) patch[key] = std::move(inner);
    } else if (value.is_array() && now->is_array() && last.is_object() &&
               last.contains(key) && last[key] == value) {
      // The server may have filled in defaults inside the elements.
    } else if (*now != value) {
      patch[key] = value;
    }
  }
  if (!last.is_object()) return patch;
  for (const auto& [key, value] : last.items()) {
    if (!wanted.contains(key) && live.contains(key)) patch[key] = nullptr;
  }
  return patch;
}

absl::Status Apply(ApiSession& api, const std::vector<std::string>& files,
                   const std::string& default_namespace) {
  absl::Status result;
  for (const std::string& path : ExpandFolders(files)) {
    auto objects = ReadObjects(path);
    if (!objects.ok()) {
      result.Update(objects.status());
      continue;
    }
    for (json& object : *objects) {
      auto line = ApplyOne(api, std::move(object), default_namespace);
      if (line.ok()) {
        std::printf("%s\n", line->c_str());
      } else {
        result.Update(WithContext(line.status(), path));
      }
    }
  }
  return result;
}

absl::Status Get(ApiSession& api, const GetOptions& options) {
  FL_ASSIGN_OR_RETURN(kube::Resource resource,
                      FindByWord(api, options.resource));
  std::string ns = resource.namespaced && !options.all_namespaces
                       ? options.ns
                       : std::string();
  std::string target = resource.Path(ns, options.name);
  if (!options.selector.empty()) {
    // '=' and ',' may stand in a query; the rest of a selector is escaped.
    std::string escaped = absl::StrReplaceAll(
        options.selector,
        {{"%", "%25"}, {" ", "%20"}, {"&", "%26"}, {"+", "%2B"}});
    StrAppend(&target, "?labelSelector=", escaped);
  }
  if (options.output == "json") {
    FL_ASSIGN_OR_RETURN(json document, api.GetJson(target));
    std::printf("%s\n", document.dump(4).c_str());
    return absl::OkStatus();
  }
  FL_ASSIGN_OR_RETURN(
      kube::Response response,
      api.Do({.target = target,
              .headers = {{"Accept",
                           "application/json;as=Table;v=v1;g=meta.k8s.io,"
                           "application/json"}}}));
  json table = json::parse(response.body, nullptr, false);
  if (!table.is_object() || table.value("kind", "") != "Table")
    return absl::DataLossError("the server did not answer with a Table");
  PrintTable(table, options);
  return absl::OkStatus();
}

absl::Status Delete(ApiSession& api, const GetOptions& options,
                    int grace_period_seconds) {
  FL_ASSIGN_OR_RETURN(kube::Resource resource,
                      FindByWord(api, options.resource));
  json body = {{"kind", "DeleteOptions"},
               {"apiVersion", "v1"},
               {"propagationPolicy", "Background"}};
  if (grace_period_seconds >= 0)
    body["gracePeriodSeconds"] = grace_period_seconds;
  std::string ns = resource.namespaced ? options.ns : std::string();
  FL_RETURN_IF_ERROR(
      api.Do({.method = "DELETE",
              .target = resource.Path(ns, options.name),
              .headers = {{"Content-Type", "application/json"}},
              .body = body.dump()})
          .status());
  std::printf("%s deleted\n", DisplayName(resource, options.name).c_str());
  return absl::OkStatus();
}

}  // namespace fairlead::cli
