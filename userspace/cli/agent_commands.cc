// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/agent_commands.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/message_json.h"
#include "userspace/cli/output.h"

namespace fairlead::cli {
namespace {

namespace v1 = admin::v1;

void PrintJson(const google::protobuf::Message& message) {
  std::printf("%s", MessageJson(message, true).c_str());
}

std::string Since(int64_t unix_ms) {
  if (unix_ms == 0) return "never";
  return ShortDuration(
      absl::ToInt64Seconds(absl::Now() - absl::FromUnixMillis(unix_ms)));
}

std::string Selection(const v1::Selection& selection) {
  if (selection.verdict() != "forward") return selection.verdict();
  return StrCat(selection.count(), " endpoints");
}

std::string Mebibytes(uint64_t bytes) {
  return absl::StrFormat("%.1f MiB", bytes / 1048576.0);
}

void PrintFacts(const v1::StatusReply& status) {
  std::vector<std::pair<std::string, std::string>> facts = {
      {"Version", status.version()},
      {"Node", status.node_name()},
      {"Running for", Since(status.start_time_unix_ms())},
      {"Healthy", status.healthy()
                      ? Colored(Color::kGreen, "yes")
                      : StrCat(Colored(Color::kRed, "no"), ": ",
                               status.unhealthy_reason())},
      {"API server",
       StrCat(status.api_server(), status.api_connected() ? " (connected)"
                                                          : " (not connected)",
              status.api_error().empty() ? "" : ": ", status.api_error())},
      {"Synced", status.synced()
                     ? StrCat("yes, last change ",
                              Since(status.last_sync_unix_ms()), " ago, ",
                              absl::StrFormat("%.2f ms from event to kernel",
                                              status.last_sync_seconds() * 1e3))
                     : std::string("not yet")},
      {"Services", StrCat(status.services(), " (", status.frontends(),
                          " frontends, ", status.backends(), " backends)")},
      {"Pending", StrCat(status.pending_services(), " changed, ",
                         status.failed_services(), " failed")},
      {"Kernel writes", StrCat(status.kernel_writes(), " in ", status.syncs(),
                               " syncs")},
      {"Devices", absl::StrJoin(status.devices(), ", ")},
      {"BPF root", status.bpf_root()},
      {"Cgroup root", status.cgroup_root()},
      {"Memory", Mebibytes(status.resident_bytes())}};
  for (const auto& [name, value] : facts)
    std::printf("%-15s%s\n", (name + ":").c_str(), value.c_str());
}

// Prints each message as one JSON object a line, or hands it to `row`.
template <typename Item>
std::function<void(const Item&)> JsonOr(
    bool json, std::function<void(const Item&)> row) {
  if (!json) return row;
  return [](const Item& item) {
    std::printf("%s\n", MessageJson(item, false).c_str());
  };
}

}  // namespace

absl::Status AgentStatus(AgentSession& agent, bool json) {
  FL_ASSIGN_OR_RETURN(v1::StatusReply status, agent.Status());
  if (json) {
    PrintJson(status);
  } else {
    PrintFacts(status);
    if (status.watches_size() > 0) {
      TextTable watches({"WATCH", "SYNCED", "VERSION", "OBJECTS", "LISTS",
                         "WATCHES", "EVENTS", "ERRORS"});
      for (const v1::WatchStatus& w : status.watches()) {
        watches.AddRow({w.resource(), w.synced() ? "yes" : "no",
                        w.resource_version(), StrCat(w.objects()),
                        StrCat(w.lists()), StrCat(w.watches()),
                        StrCat(w.events()), StrCat(w.errors())});
      }
      std::printf("\n%s", watches.ToString().c_str());
    }
    for (const v1::Problem& problem : status.problems()) {
      std::printf("%s %s: %s (for %s)\n",
                  Colored(Color::kYellow, "problem:").c_str(),
                  problem.object().c_str(), problem.message().c_str(),
                  Since(problem.since_unix_ms()).c_str());
    }
  }
  return status.healthy() ? absl::OkStatus()
                          : absl::FailedPreconditionError(StrCat(
                                "the agent is not healthy: ",
                                status.unhealthy_reason()));
}

absl::Status ServiceList(AgentSession& agent, const std::string& ns,
                         const std::string& service, bool json) {
  v1::ListServicesRequest request;
  request.set_namespace_(ns);
  request.set_service(service);
  FL_ASSIGN_OR_RETURN(v1::ListServicesReply reply,
                      agent.ListServices(request));
  if (json) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  TextTable table({"NAMESPACE", "NAME", "PORT", "TYPE", "FRONTEND", "INTERNAL",
                   "EXTERNAL", "FLAGS", "ID"});
  for (const v1::Service& s : reply.services()) {
    table.AddRow({s.namespace_(), s.name(), s.port_name(), s.type(),
                  s.frontend(), Selection(s.internal()),
                  Selection(s.external()), absl::StrJoin(s.flags(), ","),
                  StrCat(s.id())});
  }
  std::fputs(table.ToString().c_str(), stdout);
  return absl::OkStatus();
}

absl::Status BackendList(AgentSession& agent, const std::string& service,
                         bool json) {
  v1::ListBackendsRequest request;
  request.set_service(service);
  FL_ASSIGN_OR_RETURN(v1::ListBackendsReply reply,
                      agent.ListBackends(request));
  if (json) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  TextTable table({"ID", "ADDRESS", "STATE", "GENERATION", "SERVICES"});
  for (const v1::Backend& b : reply.backends()) {
    table.AddRow({StrCat(b.id()), b.address(), b.state(),
                  StrCat(b.generation()), absl::StrJoin(b.services(), ",")});
  }
  std::fputs(table.ToString().c_str(), stdout);
  return absl::OkStatus();
}

absl::Status FlowList(AgentSession& agent, const FlowFilter& filter,
                      bool json) {
  v1::ListFlowsRequest request;
  request.set_service(filter.service);
  request.set_backend(filter.backend);
  request.set_client(filter.client);
  request.set_limit(filter.limit);
  TextTable table({"HOOK", "PROTO", "SOURCE", "DESTINATION", "TRANSLATION",
                   "STATE", "SERVICE", "AGE", "IDLE"});
  FL_RETURN_IF_ERROR(agent.ListFlows(
      request, JsonOr<v1::Flow>(json, [&](const v1::Flow& f) {
        table.AddRow({f.hook(), f.protocol(), f.source(), f.destination(),
                      f.translation(), f.state(), f.service(),
                      ShortDuration(f.age_seconds()),
                      ShortDuration(f.idle_seconds())});
      })));
  if (!json) std::fputs(table.ToString().c_str(), stdout);
  return absl::OkStatus();
}

absl::Status MapDump(AgentSession& agent, const std::string& map, bool json) {
  v1::DumpMapRequest request;
  request.set_map(map);
  std::vector<std::string> lines;
  FL_RETURN_IF_ERROR(agent.DumpMap(request, [&](const v1::MapEntry& entry) {
    lines.push_back(json ? entry.json() : entry.line());
  }));
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) std::printf("%s\n", line.c_str());
  return absl::OkStatus();
}

absl::Status Counters(AgentSession& agent, bool include_zero, bool json) {
  v1::CountersRequest request;
  request.set_include_zero(include_zero);
  FL_ASSIGN_OR_RETURN(v1::CountersReply reply, agent.Counters(request));
  if (json) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  TextTable table({"COUNTER", "PACKETS", "BYTES", "MEANING"});
  for (const v1::Counter& c : reply.counters())
    table.AddRow({c.name(), StrCat(c.packets()), StrCat(c.bytes()), c.text()});
  std::fputs(table.ToString().c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace fairlead::cli
