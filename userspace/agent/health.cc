// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/health.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kAutoscalerTaint = "ToBeDeletedByClusterAutoscaler";
constexpr int kOk = 200;
constexpr int kUnavailable = 503;

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

std::string Text(const Json& json, int indent) {
  return json.dump(indent, indent < 0 ? ' ' : '\t', false,
                   Json::error_handler_t::replace) +
         "\n";
}

HttpReply ProxyReply(const HealthFacts& facts, const Health& health,
                     bool good) {
  Json body = {{"lastUpdated", Rfc3339(facts.last_updated)},
               {"currentTime", Rfc3339(facts.now)},
               {"nodeEligible", facts.node_eligible},
               {"healthy", health.healthy}};
  // One table serves both.
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    body["status"][std::string(IpFamilyName(family))] = {
        {"lastUpdated", Rfc3339(facts.last_updated)},
        {"healthy", health.healthy}};
  }
  body["apiServer"] = {{"connected", facts.api_server.ok()},
                       {"error", Std(facts.api_server.message())}};
  if (!health.healthy) body["reason"] = health.reason;
  HttpReply reply;
  reply.status = good ? kOk : kUnavailable;
  reply.body = Text(body, -1);
  return reply;
}

}  // namespace

bool IsEligible(const kube::Node& node) {
  return !node.being_deleted &&
         std::find(node.taints.begin(), node.taints.end(), kAutoscalerTaint) ==
             node.taints.end();
}

Health HealthOf(const HealthFacts& facts) {
  if (!facts.synced) {
    return {false, "Services and EndpointSlices have not been listed yet"};
  }
  return LivenessOf(facts);
}

Health LivenessOf(const HealthFacts& facts) {
  if (facts.synced && facts.waiting > kMaxWaiting) {
    return {false, StrCat("a change has not been applied for ",
                          absl::ToInt64Seconds(facts.waiting), " s; ",
                          facts.failed_services, " services failed")};
  }
  return {true, ""};
}

HttpReply HealthzReply(const HealthFacts& facts) {
  Health health = HealthOf(facts);
  return ProxyReply(facts, health, health.healthy && facts.node_eligible);
}

HttpReply LivezReply(const HealthFacts& facts) {
  Health health = LivenessOf(facts);
  return ProxyReply(facts, health, health.healthy);
}

HttpReply ServiceHealthReply(std::string_view service, int local_endpoints,
                             bool proxy_healthy) {
  size_t slash = service.find('/');
  Json body = {
      {"service",
       {{"namespace", std::string(service.substr(0, slash))},
        {"name", std::string(service.substr(slash + 1))}}},
      {"localEndpoints", local_endpoints},
      {"serviceProxyHealthy", proxy_healthy}};
  HttpReply reply;
  reply.status = local_endpoints > 0 && proxy_healthy ? kOk : kUnavailable;
  reply.headers = {
      {"X-Load-Balancing-Endpoint-Weight", StrCat(local_endpoints)}};
  reply.body = Text(body, 1);
  return reply;
}

void AnswerCounter::AddTo(PrometheusText* text, std::string_view name,
                          std::string_view help) const {
  for (const auto& [code, count] : codes_) {
    text->Counter(name, help, StrCat("code=\"", code, "\""),
                  static_cast<double>(count));
  }
}

}  // namespace fairlead::agent
