// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/status_pages.h"

#include <string>

#include "userspace/agent/kube_proxy.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kForPeople[] =
    "For people: what is written here, and how, may change.\n\n";
constexpr char kPages[] =
    "/configz /flagz /healthz /livez /metrics /proxyMode /statusz";

}  // namespace

HttpReply FlagzReply(const AgentConfig& config) {
  HttpReply reply;
  reply.content_type = kText;
  reply.body = StrCat("\nkube-proxy flagz (fairlead-agent)\n", kForPeople);
  for (const auto& [flag, value] : config.ToText()) {
    StrAppend(&reply.body, flag, "=", value, "\n");
  }
  return reply;
}

HttpReply ConfigzReply(const AgentConfig& config) {
  nlohmann::ordered_json body = {
      {"kubeproxy.config.k8s.io", ToKubeProxyConfiguration(config)}};
  HttpReply reply;
  reply.body = body.dump(-1, ' ', false,
                         nlohmann::ordered_json::error_handler_t::replace);
  return reply;
}

HttpReply StatuszReply(absl::Time started, absl::Time now,
                       std::string_view version) {
  HttpReply reply;
  reply.content_type = kText;
  reply.body =
      StrCat("\nkube-proxy statusz (fairlead-agent)\n", kForPeople,
             "Started: ",
             Std(absl::FormatTime("%a %b %e %H:%M:%S UTC %Y", started,
                                  absl::UTCTimeZone())),
             "\nUp: ", Std(absl::FormatDuration(absl::Trunc(
                           now - started, absl::Seconds(1)))),
             "\nBinary version: ", version, "\nPaths: ", kPages, "\n");
  return reply;
}

}  // namespace fairlead::agent
