// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/kube_proxy_plan.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "userspace/agent/kube_proxy_rules.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

using Command = std::vector<std::string>;

// They are the kubelet's, which keeps them with or without kube-proxy.
bool IsKubelets(absl::string_view chain) {
  return chain == "KUBE-FIREWALL" || chain == "KUBE-KUBELET-CANARY" ||
         chain == "KUBE-IPTABLES-HINT" || chain == "KUBE-MARK-DROP";
}

bool IsKubeProxys(absl::string_view chain) {
  return absl::StartsWith(chain, "KUBE-") && !IsKubelets(chain);
}

// The chain that a rule jumps to, if any. Comments are in quotes.
absl::string_view TargetOf(absl::string_view rule) {
  bool quoted = false;
  for (size_t i = 0; i + 4 < rule.size(); ++i) {
    if (rule[i] == '\\') {
      ++i;
    } else if (rule[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && (absl::StartsWith(rule.substr(i), " -j ") ||
                           absl::StartsWith(rule.substr(i), " -g "))) {
      const absl::string_view rest = rule.substr(i + 4);
      return rest.substr(0, rest.find(' '));
    }
  }
  return "";
}

// One table of iptables-save's.
struct SavedTable {
  std::string name;
  std::vector<std::string> chains;  // kube-proxy's
  std::vector<std::string> jumps;   // to them, as rules to be deleted
};

std::string ToRestoreText(const SavedTable& table) {
  if (table.chains.empty()) return "";
  std::string text = StrCat("*", table.name, "\n");
  // Named, a chain is emptied: jumps among them are gone, too.
  for (const std::string& chain : table.chains) {
    StrAppend(&text, ":", chain, " - [0:0]\n");
  }
  for (const std::string& jump : table.jumps) StrAppend(&text, jump, "\n");
  for (const std::string& chain : table.chains) {
    StrAppend(&text, "-X ", chain, "\n");
  }
  return StrCat(text, "COMMIT\n");
}

// "0A600001:0050" or "[fd96:...:0001]:0050", ports and IPv4 in hexadecimal.
std::optional<std::string> HexEndpoint(absl::string_view text) {
  const size_t colon = text.rfind(':');
  uint32_t port = 0, v4 = 0;
  if (colon == text.npos ||
      !absl::SimpleHexAtoi(text.substr(colon + 1), &port)) {
    return std::nullopt;
  }
  const absl::string_view host = text.substr(0, colon);
  if (absl::StartsWith(host, "[")) return StrCat(Std(host), ":", port);
  if (!absl::SimpleHexAtoi(host, &v4)) return std::nullopt;
  return StrCat(IpAddress::V4(v4).ToString(), ":", port);
}

}  // namespace

std::string KubeProxyRestoreText(std::string_view saved) {
  std::string text;
  SavedTable table;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(saved.data(), saved.size()), '\n')) {
    if (absl::ConsumePrefix(&line, "*")) {
      table = {.name = std::string(line), .chains = {}, .jumps = {}};
    } else if (absl::ConsumePrefix(&line, ":")) {
      const absl::string_view chain = line.substr(0, line.find(' '));
      if (IsKubeProxys(chain)) table.chains.emplace_back(chain);
    } else if (line == "COMMIT") {
      StrAppend(&text, ToRestoreText(table));
    } else if (absl::ConsumePrefix(&line, "-A ")) {
      if (!IsKubeProxys(line.substr(0, line.find(' '))) &&
          IsKubeProxys(TargetOf(line))) {
        table.jumps.push_back(StrCat("-D ", Std(line)));
      }
    }
  }
  return text;
}

std::vector<VirtualServer> ParseVirtualServers(std::string_view text) {
  constexpr std::array<std::pair<const char*, const char*>, 3> kOptions = {
      {{"TCP", "-t"}, {"UDP", "-u"}, {"SCTP", "--sctp-service"}}};
  std::vector<VirtualServer> servers;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipWhitespace());
    if (words.size() < 2) continue;
    const auto endpoint = HexEndpoint(words[1]);
    if (!endpoint.has_value()) continue;  // a heading
    if (words[0] == "->" && !servers.empty()) {
      servers.back().destinations.push_back(*endpoint);
    }
    for (const auto& [protocol, option] : kOptions) {
      if (words[0] == protocol) {
        servers.push_back(
            {.service = StrCat(option, " ", *endpoint), .destinations = {}});
      }
    }
  }
  return servers;
}

size_t CountConnections(std::string_view text) {
  size_t connections = 0;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipWhitespace());
    uint32_t client_port = 0;
    // Without a client's port it is a heading, or an affinity's entry.
    if (words.size() > 2 && absl::SimpleHexAtoi(words[2], &client_port) &&
        client_port != 0) {
      ++connections;
    }
  }
  return connections;
}

std::vector<Command> IpvsDrainCommands(
    const std::vector<VirtualServer>& servers) {
  std::vector<Command> commands;
  for (const VirtualServer& server : servers) {
    const std::vector<std::string> service =
        absl::StrSplit(server.service, ' ');
    for (const std::string& destination : server.destinations) {
      commands.push_back({"ipvsadm", "-e", service[0], service[1], "-r",
                          destination, "-m", "-w", "0"});
    }
  }
  return commands;
}

std::vector<Command> IpvsRemoveCommands(
    const std::vector<VirtualServer>& servers) {
  std::vector<Command> commands;
  for (const VirtualServer& server : servers) {
    const std::vector<std::string> service =
        absl::StrSplit(server.service, ' ');
    commands.push_back({"ipvsadm", "-D", service[0], service[1]});
  }
  commands.push_back({"ip", "link", "delete", kIpvsDevice});
  return commands;
}

}  // namespace fairlead::agent
