// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/kube_proxy_cleanup.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "userspace/agent/kube_proxy_plan.h"
#include "userspace/agent/kube_proxy_rules.h"
#include "userspace/agent/takeover.h"
#include "userspace/base/clock.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/run_tool.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/netlink/conntrack.h"
#include "userspace/netlink/nf_tables.h"

namespace fairlead::agent {
namespace {

constexpr absl::Duration kPoll = absl::Seconds(1);
constexpr int kPollsALine = 10;

using Command = std::vector<std::string>;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status RunAll(const std::vector<Command>& commands) {
  for (const Command& command : commands) {
    FL_RETURN_IF_ERROR(RunTool(command).status());
  }
  return absl::OkStatus();
}

absl::Status CleanNftables() {
  FL_ASSIGN_OR_RETURN(netlink::NfTables tables, netlink::NfTables::Open());
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    FL_RETURN_IF_ERROR(tables.DeleteTable(family, kKubeProxyTable));
  }
  spdlog::info("msg=\"removed\" what=\"tables kube-proxy of nf_tables\"");
  return absl::OkStatus();
}

absl::Status CleanIptables(std::string_view backend) {
  for (const char* family : {"iptables", "ip6tables"}) {
    const std::string tool = StrCat(family, "-", backend);
    FL_ASSIGN_OR_RETURN(std::string saved, RunTool({tool + "-save"}));
    const std::string text = KubeProxyRestoreText(saved);
    if (text.empty()) continue;
    FL_RETURN_IF_ERROR(
        RunTool({tool + "-restore", "--noflush", "--wait"}, text).status());
    spdlog::info("msg=\"removed\" what=\"chains KUBE-* of {}\" lines={}", tool,
                 std::count(text.begin(), text.end(), '\n'));
  }
  return absl::OkStatus();
}

absl::Status WaitForIpvs(absl::Duration limit) {
  const absl::Duration until = Clock::Real().Monotonic() + limit;
  for (int polls = 0;; ++polls) {
    const size_t left =
        CountConnections(ReadAll("/proc/self/net/ip_vs_conn"));
    if (left == 0) return absl::OkStatus();
    if (Clock::Real().Monotonic() >= until) {
      return absl::DeadlineExceededError(
          StrCat(left, " connections of IPVS go on: its servers were left, "
                       "without new ones; run this again"));
    }
    if (polls % kPollsALine == 0) {
      spdlog::info("msg=\"waiting for IPVS' connections to end\" "
                   "connections={}",
                   left);
    }
    absl::SleepFor(kPoll);
  }
}

absl::Status CleanIpvs(absl::Duration drain) {
  const std::vector<VirtualServer> servers =
      ParseVirtualServers(ReadAll("/proc/self/net/ip_vs"));
  FL_RETURN_IF_ERROR(RunAll(IpvsDrainCommands(servers)));
  FL_RETURN_IF_ERROR(WaitForIpvs(drain));
  FL_RETURN_IF_ERROR(RunAll(IpvsRemoveCommands(servers)));
  spdlog::info("msg=\"removed\" what=\"virtual servers of IPVS\" servers={}",
               servers.size());
  // Sets that rules use can't be destroyed: after iptables.
  FL_ASSIGN_OR_RETURN(std::string sets, RunTool({"ipset", "list", "-name"}));
  for (absl::string_view set : absl::StrSplit(sets, '\n')) {
    if (!absl::StartsWith(set, "KUBE-")) continue;
    FL_RETURN_IF_ERROR(RunTool({"ipset", "destroy", std::string(set)}).status());
  }
  return absl::OkStatus();
}

// With them gone, the kernel would stop translating what they had opened.
absl::Status HoldWhatIsOpen() {
  FL_ASSIGN_OR_RETURN(netlink::Conntrack conntrack,
                      netlink::Conntrack::Open());
  FL_ASSIGN_OR_RETURN(std::vector<netlink::TranslatedFlow> flows,
                      conntrack.Translated());
  const auto open = std::count_if(
      flows.begin(), flows.end(),
      [](const netlink::TranslatedFlow& flow) { return !flow.over; });
  if (open == 0) return absl::OkStatus();
  FL_RETURN_IF_ERROR(AddHolders());
  spdlog::info("msg=\"netfilter goes on with what it translates\" flows={} "
               "table={} until=\"the agent sees them end\"",
               open, kHolderTable);
  return absl::OkStatus();
}

}  // namespace

absl::Status CleanUpKubeProxy(absl::Duration drain) {
  FL_ASSIGN_OR_RETURN(KubeProxyRules rules, FindKubeProxyRules());
  if (!rules.any()) {
    spdlog::info("msg=\"kube-proxy has left nothing here\"");
    return absl::OkStatus();
  }
  FL_RETURN_IF_ERROR(HoldWhatIsOpen());
  absl::Status first;
  auto did = [&first](bool there, std::string_view kind, auto clean) {
    if (!there) return;
    absl::Status status = clean();
    if (absl::IsNotFound(status)) {
      status = absl::FailedPreconditionError(
          StrCat("cannot remove kube-proxy's rules of ", kind, ": ",
                 Std(status.message()),
                 "; install it, or run kube-proxy --cleanup"));
    }
    if (!status.ok()) spdlog::error("error=\"{}\"", status.ToString());
    first.Update(status);
  };
  did(rules.nftables, "nftables", [] { return CleanNftables(); });
  did(rules.iptables_nft, "iptables", [] { return CleanIptables("nft"); });
  did(rules.iptables_legacy, "iptables",
      [] { return CleanIptables("legacy"); });
  did(rules.ipvs, "ipvs", [drain] { return CleanIpvs(drain); });
  return first;
}

}  // namespace fairlead::agent
