// SPDX-License-Identifier: Apache-2.0
#include "control/api/health.h"

#include <spdlog/spdlog.h>

#include <set>
#include <utility>

#include "control/api/api_status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kEndpoints[] = {"healthz", "livez", "readyz"};

// What follows "/ENDPOINT": "" or "/CHECK". nullopt: another path.
std::optional<std::string_view> Below(std::string_view path,
                                      std::string_view endpoint) {
  if (!path.starts_with('/') || !path.substr(1).starts_with(endpoint)) {
    return std::nullopt;
  }
  path.remove_prefix(1 + endpoint.size());
  if (!path.empty() && path[0] != '/') return std::nullopt;
  return path;
}

// http.Error of Go ends its text with a newline.
kube::Response Failure(std::string text) {
  return TextResponse(500, std::move(text) + "\n");
}

kube::Response Single(const absl::Status& status) {
  if (status.ok()) return TextResponse(200, "ok");
  return Failure(StrCat("internal server error: ", status.message()));
}

}  // namespace

Health::Health() {
  Add("ping", Of::kAll, [] { return absl::OkStatus(); });
}

void Health::Add(std::string name, Of of,
                 std::function<absl::Status()> check) {
  checks_.push_back({std::move(name), of, std::move(check)});
}

std::optional<kube::Response> Health::Serve(std::string_view method,
                                            std::string_view path,
                                            const Query& query) const {
  for (std::string_view endpoint : kEndpoints) {
    std::optional<std::string_view> below = Below(path, endpoint);
    if (!below.has_value()) continue;
    if (method != "GET" && method != "HEAD") {
      return ErrorResponse(MethodNotAllowed(), false);
    }
    if (below->empty()) return Whole(endpoint, query);
    for (const Check& check : checks_) {
      if (check.of == Of::kReady && endpoint == "livez") continue;
      if (below->substr(1) == check.name) return Single(check.run());
    }
    return TextResponse(404, "404 page not found\n");
  }
  return std::nullopt;
}

kube::Response Health::Whole(std::string_view endpoint,
                             const Query& query) const {
  std::set<std::string_view> excluded;
  for (std::string_view name : query.All("exclude")) excluded.insert(name);
  std::string text;
  bool healthy = true;
  for (const Check& check : checks_) {
    if (check.of == Of::kReady && endpoint == "livez") continue;
    if (excluded.erase(check.name) > 0) {
      StrAppend(&text, "[+]", check.name, " excluded: ok\n");
      continue;
    }
    const absl::Status status = check.run();
    if (status.ok()) {
      StrAppend(&text, "[+]", check.name, " ok\n");
      continue;
    }
    healthy = false;
    StrAppend(&text, "[-]", check.name, " failed: reason withheld\n");
    spdlog::debug("msg=unhealthy endpoint={} check={} error=\"{}\"", endpoint,
                  check.name, std::string(status.message()));
  }
  if (!excluded.empty()) {
    text += "warn: some health checks cannot be excluded: no matches for ";
    const char* separator = "";
    for (std::string_view name : excluded) {
      StrAppend(&text, std::exchange(separator, ","), Quote(name));
    }
    text += "\n";
  }
  if (!healthy) return Failure(StrCat(text, endpoint, " check failed"));
  if (!query.Has("verbose")) return TextResponse(200, "ok");
  return TextResponse(200, StrCat(text, endpoint, " check passed\n"));
}

std::vector<std::string> Health::Paths() const {
  std::vector<std::string> paths;
  for (std::string_view endpoint : kEndpoints) {
    paths.push_back(StrCat("/", endpoint));
    for (const Check& check : checks_) {
      if (check.of == Of::kReady && endpoint == "livez") continue;
      paths.push_back(StrCat("/", endpoint, "/", check.name));
    }
  }
  return paths;
}

}  // namespace fairlead::api
