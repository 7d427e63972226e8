// SPDX-License-Identifier: Apache-2.0
#include <spdlog/spdlog.h>

#include "userspace/agent/agent.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

void AddCounters(const datapath::Inspector& inspector, PrometheusText* text) {
  auto rows = inspector.Counters();
  if (!rows.ok()) {
    spdlog::warn("msg=\"cannot read counters\" error=\"{}\"",
                 rows.status().ToString());
    return;
  }
  for (const datapath::CounterRow& row : *rows) {
    text->Counter("fl_datapath_packets_total",
                  "Packets and socket calls by what became of them.",
                  StrCat("reason=\"", row.name, "\""),
                  static_cast<double>(row.packets));
  }
  for (const datapath::CounterRow& row : *rows) {
    text->Counter("fl_datapath_bytes_total",
                  "Bytes of packets by what became of them.",
                  StrCat("reason=\"", row.name, "\""),
                  static_cast<double>(row.bytes));
  }
}

void AddFill(const datapath::Inspector& inspector, PrometheusText* text) {
  auto fill = inspector.Fill();
  if (!fill.ok()) return;
  for (const datapath::MapFill& map : *fill) {
    text->Gauge("fl_datapath_map_entries", "Entries in use.",
                StrCat("map=\"", map.name, "\""),
                static_cast<double>(map.entries));
  }
  for (const datapath::MapFill& map : *fill) {
    text->Gauge("fl_datapath_map_max_entries", "Room for entries.",
                StrCat("map=\"", map.name, "\""),
                static_cast<double>(map.max_entries));
  }
}

void AddFeeds(const ApiFeeds& feeds, PrometheusText* text) {
  struct Column {
    const char* name;
    const char* help;
    uint64_t kube::Reflector::Stats::*value;
  };
  std::vector<ApiFeeds::Watch> watches = feeds.watches();
  for (const Column& column :
       {Column{"fl_api_lists_total", "Lists begun.",
               &kube::Reflector::Stats::lists},
        Column{"fl_api_watches_total", "Watches begun.",
               &kube::Reflector::Stats::watches},
        Column{"fl_api_events_total", "Events of watches.",
               &kube::Reflector::Stats::events},
        Column{"fl_api_bookmarks_total", "Bookmarks of watches.",
               &kube::Reflector::Stats::bookmarks},
        Column{"fl_api_ignored_total",
               "Events left out: of another kind, or older than the last.",
               &kube::Reflector::Stats::ignored},
        Column{"fl_api_errors_total", "Lists and watches that failed.",
               &kube::Reflector::Stats::errors}}) {
    for (const ApiFeeds::Watch& watch : watches) {
      text->Counter(column.name, column.help,
                    StrCat("resource=\"", watch.resource, "\""),
                    static_cast<double>(watch.stats.*column.value));
    }
  }
  for (const ApiFeeds::Watch& watch : watches) {
    text->Counter("fl_api_undecodable_total", "Objects without a name.",
                  StrCat("resource=\"", watch.resource, "\""),
                  static_cast<double>(watch.undecodable));
  }
  text->Gauge("fl_api_connected", "1 while all watches are connected.", "",
              feeds.connection().ok());
}

void AddApplies(const ApplyLoop& apply_loop, PrometheusText* text) {
  const ApplyLoop::Stats& stats = apply_loop.stats();
  text->Counter("fl_apply_total", "Times that changes were applied.", "",
                static_cast<double>(stats.applies));
  text->Counter("fl_apply_writes_total", "... and something was written.", "",
                static_cast<double>(stats.writes));
  text->Counter("fl_apply_failures_total", "Services that failed, each time.",
                "", static_cast<double>(stats.failures));
  text->Gauge("fl_apply_failed_services", "Services that failed last time.",
              "", static_cast<double>(stats.failed));
  text->Gauge("fl_apply_waiting_seconds",
              "For how long the oldest change has been waiting.", "",
              absl::ToDoubleSeconds(apply_loop.waiting()));
  text->Add("fl_apply_duration_seconds", "How long applying took.",
            stats.duration);
  text->Add("fl_apply_latency_seconds", "From event to kernel.",
            stats.latency);
}

// kube-proxy labels most by family. One run serves both here, and is told of
// under each.
template <typename Fn>
void ForEachFamily(Fn fn) {
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    fn(StrCat("ip_family=\"", IpFamilyName(family), "\""), family);
  }
}

void AddSyncs(const ApplyLoop::Stats& stats, PrometheusText* text) {
  struct Row {
    const char* name;
    const char* help;
    Histogram ApplyLoop::Stats::*histogram;
  };
  for (const Row& row :
       {Row{"kubeproxy_sync_proxy_rules_duration_seconds",
            "How long applying took.", &ApplyLoop::Stats::sync},
        Row{"kubeproxy_sync_full_proxy_rules_duration_seconds",
            "... everything: once, at the start.",
            &ApplyLoop::Stats::full_sync},
        Row{"kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "... what has changed.", &ApplyLoop::Stats::partial_sync},
        Row{"kubeproxy_network_programming_duration_seconds",
            "From a change of endpoints to the kernel.",
            &ApplyLoop::Stats::network_programming}}) {
    ForEachFamily([&](const std::string& label, IpFamily) {
      text->Add(row.name, row.help, stats.*row.histogram, label);
    });
  }
  auto timestamp = [&](const char* name, const char* help,
                       const std::optional<absl::Time>& time) {
    if (!time.has_value()) return;
    ForEachFamily([&](const std::string& label, IpFamily) {
      text->Gauge(name, help, label,
                  absl::ToDoubleSeconds(*time - absl::UnixEpoch()));
    });
  };
  timestamp("kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When changes were applied last.", stats.last_applied);
  timestamp("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change was queued last.", stats.last_queued);
}

void AddChanges(const char* what, uint64_t total, uint64_t applied,
                PrometheusText* text) {
  const std::string name = StrCat("kubeproxy_sync_proxy_rules_", what);
  ForEachFamily([&](const std::string& label, IpFamily) {
    text->Gauge(StrCat(name, "_changes_pending"),
                "Changes that have not been applied yet.", label,
                static_cast<double>(total - applied));
  });
  ForEachFamily([&](const std::string& label, IpFamily) {
    text->Counter(StrCat(name, "_changes_total"), "Changes.", label,
                  static_cast<double>(total));
  });
}

// What kube-proxy counts of the kernel's other ways, and cannot happen here.
void AddOtherModes(PrometheusText* text) {
  struct Row {
    const char* name;
    bool gauge;
  };
  for (const Row& row :
       {Row{"kubeproxy_sync_proxy_rules_iptables_restore_failures_total", false},
        Row{"kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
            false},
        Row{"kubeproxy_sync_proxy_rules_iptables_total", true},
        Row{"kubeproxy_sync_proxy_rules_iptables_last", true},
        Row{"kubeproxy_sync_proxy_rules_nftables_sync_failures_total", false},
        Row{"kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
            false}}) {
    ForEachFamily([&](const std::string& label, IpFamily) {
      constexpr char kHelp[] = "There are no such rules here.";
      if (row.gauge) {
        text->Gauge(row.name, kHelp, label, 0);
      } else {
        text->Counter(row.name, kHelp, label, 0);
      }
    });
  }
  text->Counter("kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
                "Packets out of window are forwarded here.", "", 0);
  text->Counter("kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
                "There are no such rules here.", "", 0);
}

void AddUdpCleanup(const UdpCleanup::Stats& stats, PrometheusText* text) {
  text->Counter("kubeproxy_conntrack_reconciler_deleted_entries_total",
                "UDP flows that were forgotten.", "",
                static_cast<double>(stats.flows + stats.endpoints));
  text->Add("kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "How long a clean-up of UDP flows took.", stats.duration);
  text->Counter("fl_udp_sockets_destroyed_total",
                "Connected UDP sockets whose endpoint had gone.", "",
                static_cast<double>(stats.sockets));
  text->Counter("fl_udp_cleanup_errors_total", "Clean-ups that failed.", "",
                static_cast<double>(stats.errors));
}

}  // namespace

HttpReply Agent::Metrics() const {
  PrometheusText text;
  AddCounters(inspector(), &text);
  AddFill(inspector(), &text);
  AddFeeds(*feeds_, &text);
  AddApplies(*apply_loop_, &text);
  AddSyncs(apply_loop_->stats(), &text);
  AddChanges("service", feeds_->service_changes(), applied_service_changes_,
             &text);
  AddChanges("endpoint", feeds_->endpoint_changes(), applied_endpoint_changes_,
             &text);
  AddOtherModes(&text);
  ForEachFamily([&](const std::string& label, IpFamily family) {
    constexpr char kName[] =
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    constexpr char kHelp[] =
        "Service ports with a policy Local and no endpoint on this node.";
    const NoLocalEndpoints::Counts counts = no_local_endpoints_.total(family);
    text.Gauge(kName, kHelp, StrCat(label, ",traffic_policy=\"internal\""),
               counts.internal);
    text.Gauge(kName, kHelp, StrCat(label, ",traffic_policy=\"external\""),
               counts.external);
  });
  reconcile::Reconciler::Stats stats = reconciler().stats();
  text.Gauge("fl_services", "Services with a frontend.", "",
             static_cast<double>(stats.services));
  text.Gauge("fl_frontends", "Frontends.", "",
             static_cast<double>(stats.frontends));
  text.Gauge("fl_backends", "Backends.", "",
             static_cast<double>(stats.backends));
  text.Counter("fl_kernel_operations_total", "Changes made to the tables.", "",
               static_cast<double>(stats.operations));
  text.Counter("fl_kernel_operation_errors_total", "Changes that failed.", "",
               static_cast<double>(stats.operation_errors));
  text.Counter("fl_problems_total", "Objects that could not be used.", "",
               static_cast<double>(problems_seen_));
  healthz_answers_.AddTo(&text, "kubeproxy_proxy_healthz_total",
                         "Answers of /healthz by their status.");
  livez_answers_.AddTo(&text, "kubeproxy_proxy_livez_total",
                       "Answers of /livez by their status.");
  AddUdpCleanup(udp_cleanup_->stats(), &text);
  text.Gauge("fl_takeover", "1 while kube-proxy's flows are left to it.", "",
             takeover_->on());
  text.Gauge("fl_takeover_flows", "Those flows, when last looked at.", "",
             static_cast<double>(takeover_->stats().flows));
  text.Counter("fl_takeover_errors_total", "Looks that failed.", "",
               static_cast<double>(takeover_->stats().errors));
  HealthCheckPorts::Stats checks = health_check_ports_->stats();
  text.Gauge("fl_health_checks", "Services with a health-check NodePort.", "",
             static_cast<double>(checks.checks));
  text.Gauge("fl_health_check_listeners_missing",
             "Health-check listeners that could not be opened.", "",
             static_cast<double>(checks.missing));
  text.Gauge("fl_service_ranges",
             "Ranges of ClusterIPs that the programs know.", "",
             static_cast<double>(service_ranges_.used.size()));
  text.Gauge("fl_service_ranges_left_out",
             "Ranges of ServiceCIDRs that they have no room for.", "",
             static_cast<double>(service_ranges_.left_out.size()));
  text.Gauge("fl_devices_attached", "Devices that carry the programs.", "",
             static_cast<double>(devices_->attached().size()));
  text.Counter("fl_device_attach_failures_total", "Attachments that failed.",
               "", static_cast<double>(devices_->failures()));
  text.Gauge("process_resident_memory_bytes", "Resident memory.", "",
             static_cast<double>(ResidentBytes()));
  EventLoop::Stats loop = loop_->stats();
  text.Counter("fl_loop_callbacks_total", "Callbacks of the event loop.", "",
               static_cast<double>(loop.callbacks));
  text.Counter("fl_loop_busy_seconds_total", "Time spent in them.", "",
               absl::ToDoubleSeconds(loop.busy));
  text.Gauge("fl_loop_longest_callback_seconds", "The longest of them.", "",
             absl::ToDoubleSeconds(loop.longest));
  HttpReply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = text.Take();
  return reply;
}

}  // namespace fairlead::agent
