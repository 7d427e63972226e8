// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/views.h"

#include <arpa/inet.h>

#include <algorithm>
#include <vector>

#include "userspace/base/strings.h"
#include "userspace/base/version.h"

namespace fairlead::agent {
namespace {

namespace v1 = admin::v1;

std::string_view VerdictName(uint32_t verdict) {
  switch (verdict) {
    case FL_VERDICT_FORWARD:
      return "forward";
    case FL_VERDICT_REJECT:
      return "reject";
    case FL_VERDICT_DROP:
      return "drop";
    default:
      return "unknown";
  }
}

std::string_view StateName(uint8_t state) {
  switch (state) {
    case FL_BACKEND_ON:
      return "on";
    case FL_BACKEND_DRAIN:
      return "drain";
    case FL_BACKEND_OFF:
      return "off";
    default:
      return "free";
  }
}

std::string FrontendText(const L4Address& address) {
  if (!address.address.is_unspecified()) return address.ToString();
  return StrCat(address.address.is_v4() ? "*" : "[*]", ":", address.port, "/",
                ProtocolName(address.protocol));
}

std::string AddressText(const fl_addr& address, __be16 port) {
  L4Address l4{reconcile::FromAbi(address), ntohs(port), Protocol::kTcp};
  std::string text = l4.ToString();
  return text.substr(0, text.rfind('/'));
}

void FillSelection(uint32_t verdict, const fl_selection& selection,
                   absl::Span<const uint32_t> ids, v1::Selection* out) {
  out->set_verdict(std::string(VerdictName(verdict)));
  if (verdict != FL_VERDICT_FORWARD) return;
  out->set_base(selection.base);
  out->set_count(selection.count);
  for (uint32_t id : ids) out->add_backend_ids(id);
}

void FillFlags(uint32_t flags, v1::Service* out) {
  struct Name {
    uint32_t flag;
    const char* name;
  };
  for (const Name& n : {Name{FL_SERVICE_MASQ_POD, "masquerade-pod"},
                        Name{FL_SERVICE_MASQ_HOST, "masquerade-host"},
                        Name{FL_SERVICE_MASQ_OUTSIDE, "masquerade-outside"},
                        Name{FL_SERVICE_SOURCE_RANGES, "source-ranges"},
                        Name{FL_SERVICE_NODE_PORT, "node-port"}}) {
    if ((flags & n.flag) != 0) out->add_flags(n.name);
  }
}

void FillWatches(const Agent& agent, v1::StatusReply* reply) {
  for (const ApiFeeds::Watch& watch : agent.feeds().watches()) {
    v1::WatchStatus* out = reply->add_watches();
    out->set_resource(watch.resource);
    out->set_synced(watch.synced);
    out->set_resource_version(watch.resource_version);
    out->set_lists(watch.stats.lists);
    out->set_watches(watch.stats.watches);
    out->set_events(watch.stats.events);
    out->set_bookmarks(watch.stats.bookmarks);
    out->set_errors(watch.stats.errors);
    out->set_objects(static_cast<uint32_t>(watch.objects));
  }
}

std::string PortText(std::string_view service, std::string_view port) {
  return port.empty() ? std::string(service) : StrCat(service, ":", port);
}

}  // namespace

bool MatchesService(std::string_view key, std::string_view wanted) {
  if (wanted.empty() || key == wanted) return true;
  size_t slash = key.find('/');
  return slash != key.npos && key.substr(slash + 1) == wanted;
}

void FillStatus(const Agent& agent, v1::StatusReply* reply) {
  const AgentConfig& config = agent.config();
  reply->set_version(kVersion);
  reply->set_node_name(config.node_name);
  reply->set_start_time_unix_ms(absl::ToUnixMillis(agent.started()));
  Health health = agent.health();
  reply->set_healthy(health.healthy);
  reply->set_unhealthy_reason(health.reason);
  reply->set_api_server(config.api_server.url);
  const absl::Status& connection = agent.feeds().connection();
  reply->set_api_connected(connection.ok());
  reply->set_api_error(std::string(connection.message()));
  FillWatches(agent, reply);

  const ApplyLoop::Stats& stats = agent.apply_loop().stats();
  reply->set_synced(stats.last_applied.has_value());
  if (stats.last_applied.has_value()) {
    reply->set_last_sync_unix_ms(absl::ToUnixMillis(*stats.last_applied));
  }
  reconcile::Reconciler::Stats kernel = agent.reconciler().stats();
  reply->set_services(static_cast<uint32_t>(kernel.services));
  reply->set_frontends(static_cast<uint32_t>(kernel.frontends));
  reply->set_backends(static_cast<uint32_t>(kernel.backends));
  reply->set_pending_services(agent.cluster().has_dirty() ? 1 : 0);
  reply->set_failed_services(static_cast<uint32_t>(stats.failed));
  reply->set_bpf_root(config.bpf_root);
  reply->set_cgroup_root(config.cgroup_root.value_or("none"));
  for (std::string& name : agent.devices().attached()) {
    reply->add_devices(std::move(name));
  }
  reply->set_syncs(stats.writes);
  reply->set_kernel_writes(kernel.operations);
  reply->set_last_sync_seconds(absl::ToDoubleSeconds(stats.last_latency));
  reply->set_resident_bytes(ResidentBytes());
  for (const Agent::StandingProblem& standing : agent.problems()) {
    v1::Problem* problem = reply->add_problems();
    problem->set_object(standing.problem.object);
    problem->set_message(standing.problem.text);
    problem->set_since_unix_ms(absl::ToUnixMillis(standing.since));
  }
  for (auto& [flag, value] : config.ToText()) {
    (*reply->mutable_configuration())[flag] = value;
  }
}

void FillServices(const Agent& agent, const v1::ListServicesRequest& request,
                  v1::ListServicesReply* reply) {
  agent.reconciler().ForEachFrontend(
      [&](const reconcile::Reconciler::FrontendView& view) {
        size_t slash = view.service.find('/');
        std::string_view ns =
            slash == view.service.npos ? "" : view.service.substr(0, slash);
        if (!MatchesService(view.service, request.service())) return;
        if (!request.namespace_().empty() && ns != request.namespace_()) return;
        v1::Service* out = reply->add_services();
        out->set_namespace_(std::string(ns));
        out->set_name(std::string(
            slash == view.service.npos ? "" : view.service.substr(slash + 1)));
        out->set_port_name(std::string(view.port));
        out->set_type(std::string(model::FrontendKindName(view.kind)));
        out->set_frontend(FrontendText(view.address));
        out->set_id(view.value.id);
        uint32_t flags = view.value.flags;
        FillSelection((flags >> FL_SERVICE_INTERNAL_VERDICT_SHIFT) &
                          FL_SERVICE_VERDICT_MASK,
                      view.value.internal, view.internal,
                      out->mutable_internal());
        FillSelection((flags >> FL_SERVICE_EXTERNAL_VERDICT_SHIFT) &
                          FL_SERVICE_VERDICT_MASK,
                      view.value.external, view.external,
                      out->mutable_external());
        out->set_affinity_seconds(view.value.affinity_seconds);
        FillFlags(flags, out);
        const kube::Service* service =
            agent.cluster().FindService(view.service);
        if ((flags & FL_SERVICE_SOURCE_RANGES) != 0 && service != nullptr) {
          for (const IpPrefix& range : service->source_ranges) {
            out->add_source_ranges(range.ToString());
          }
        }
      });
  std::sort(reply->mutable_services()->begin(),
            reply->mutable_services()->end(),
            [](const v1::Service& a, const v1::Service& b) {
              return std::tie(a.namespace_(), a.name(), a.port_name(),
                              a.type(), a.frontend()) <
                     std::tie(b.namespace_(), b.name(), b.port_name(),
                              b.type(), b.frontend());
            });
}

void FillBackends(const Agent& agent, const v1::ListBackendsRequest& request,
                  v1::ListBackendsReply* reply) {
  absl::flat_hash_map<uint32_t, std::vector<std::string>> users;
  bool filtered = !request.service().empty();
  agent.reconciler().ForEachFrontend(
      [&](const reconcile::Reconciler::FrontendView& view) {
        if (!MatchesService(view.service, request.service())) return;
        std::string name = PortText(view.service, view.port);
        for (absl::Span<const uint32_t> ids : {view.internal, view.external}) {
          for (uint32_t id : ids) {
            std::vector<std::string>& names = users[id];
            if (std::find(names.begin(), names.end(), name) == names.end()) {
              names.push_back(name);
            }
          }
        }
      });
  agent.reconciler().ForEachBackend(
      [&](uint32_t id, const fl_backend& backend) {
        auto it = users.find(id);
        if (filtered && it == users.end()) return;
        v1::Backend* out = reply->add_backends();
        out->set_id(id);
        out->set_address(L4Address{reconcile::FromAbi(backend.addr),
                                   ntohs(backend.port),
                                   static_cast<Protocol>(backend.proto)}
                             .ToString());
        out->set_state(std::string(StateName(backend.state)));
        out->set_generation(backend.generation);
        out->set_weight(backend.weight);
        if (it == users.end()) return;
        for (const std::string& name : it->second) out->add_services(name);
      });
  std::sort(reply->mutable_backends()->begin(),
            reply->mutable_backends()->end(),
            [](const v1::Backend& a, const v1::Backend& b) {
              return a.id() < b.id();
            });
}

ServiceNames NamesOfServices(const Agent& agent) {
  ServiceNames names;
  agent.reconciler().ForEachFrontend(
      [&](const reconcile::Reconciler::FrontendView& view) {
        names[view.value.id] = PortText(view.service, view.port);
      });
  return names;
}

v1::Flow ToMessage(const fl_flow_key& key, const fl_flow& flow,
                   const ServiceNames& names, uint32_t now_seconds) {
  v1::Flow out;
  out.set_hook(std::string(datapath::HookName(key.hook)));
  out.set_protocol(
      std::string(ProtocolName(static_cast<Protocol>(key.proto))));
  out.set_source(AddressText(key.src, key.sport));
  out.set_destination(AddressText(key.dst, key.dport));
  out.set_translation(StrCat(key.hook == FL_HOOK_EGRESS ? "src " : "dst ",
                             AddressText(flow.addr, flow.port)));
  out.set_source_port(ntohs(flow.source_port));
  out.set_state(std::string(datapath::FlowStateName(flow.state)));
  out.set_reply((flow.flags & FL_FLOW_REPLY) != 0);
  out.set_masquerade((flow.flags & FL_FLOW_MASQ) != 0);
  auto it = names.find(flow.service_id);
  out.set_service(it != names.end() ? it->second : StrCat(flow.service_id));
  out.set_service_id(flow.service_id);
  out.set_backend_id(flow.backend_id);
  out.set_backend_generation(flow.backend_generation);
  auto since = [&](uint32_t then) {
    return now_seconds > then ? now_seconds - then : 0;
  };
  const uint16_t minutes = now_seconds / 60 - flow.created;
  out.set_age_seconds(minutes * 60u);
  out.set_idle_seconds(since(flow.last_seen));
  return out;
}

}  // namespace fairlead::agent
