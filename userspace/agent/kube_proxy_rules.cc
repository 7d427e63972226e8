// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/kube_proxy_rules.h"

#include <netinet/in.h>
// Behind netinet/in.h: it brings the kernel's view of the same.
#include <linux/netfilter_ipv4/ip_tables.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/netlink/nf_tables.h"

namespace fairlead::agent {
namespace {

constexpr char kChain[] = "KUBE-SERVICES";
constexpr char kTable[] = "nat";

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The older iptables' table as the kernel has it: a chain's name is in its
// first entry. The table must be there: asking for one makes it.
absl::StatusOr<std::string> ReadLegacyTable(IpFamily family) {
  const bool v4 = family == IpFamily::kIpv4;
  // The two families' structures are alike in all that is used here.
  const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
  UniqueFd fd(
      socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket", kTable);
  ipt_getinfo info = {};
  std::strncpy(info.name, kTable, sizeof info.name - 1);
  socklen_t size = sizeof info;
  if (getsockopt(fd.get(), level, IPT_SO_GET_INFO, &info, &size) != 0) {
    return ErrnoStatus(errno, "read iptables' table", kTable);
  }
  std::vector<char> buffer(sizeof(ipt_get_entries) + info.size);
  auto* entries = reinterpret_cast<ipt_get_entries*>(buffer.data());
  std::strncpy(entries->name, kTable, sizeof entries->name - 1);
  entries->size = info.size;
  size = static_cast<socklen_t>(buffer.size());
  if (getsockopt(fd.get(), level, IPT_SO_GET_ENTRIES, entries, &size) != 0) {
    return ErrnoStatus(errno, "read iptables' table", kTable);
  }
  return std::string(buffer.begin(), buffer.end());
}

absl::StatusOr<bool> HasLegacyChain(IpFamily family) {
  const bool v4 = family == IpFamily::kIpv4;
  std::ifstream names(v4 ? "/proc/self/net/ip_tables_names"
                         : "/proc/self/net/ip6_tables_names");
  for (std::string name; std::getline(names, name);) {
    if (name != kTable) continue;
    auto table = ReadLegacyTable(family);
    // It changes while it is read: a sign of life.
    if (absl::IsUnavailable(table.status())) return true;
    FL_RETURN_IF_ERROR(table.status());
    const std::string wanted(kChain, sizeof kChain);  // with its zero
    return table->find(wanted) != std::string::npos;
  }
  return false;
}

// Three lines of headings come first.
bool HasVirtualServers() {
  const std::string text = ReadAll("/proc/self/net/ip_vs");
  for (std::string_view protocol : {"\nTCP ", "\nUDP ", "\nSCTP "}) {
    if (text.find(protocol) != std::string::npos) return true;
  }
  return ReadAll("/proc/self/net/dev").find(StrCat(kIpvsDevice, ":")) !=
         std::string::npos;
}

}  // namespace

std::string KubeProxyRules::ToString() const {
  std::vector<std::string> kinds;
  if (nftables) kinds.push_back("nftables");
  if (iptables_nft) kinds.push_back("iptables (nf_tables)");
  if (iptables_legacy) kinds.push_back("iptables (legacy)");
  if (ipvs) kinds.push_back("ipvs");
  return kinds.empty() ? "none" : absl::StrJoin(kinds, ", ");
}

absl::StatusOr<KubeProxyRules> FindKubeProxyRules() {
  KubeProxyRules found;
  FL_ASSIGN_OR_RETURN(netlink::NfTables tables, netlink::NfTables::Open());
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    FL_ASSIGN_OR_RETURN(bool table, tables.HasTable(family, kKubeProxyTable));
    FL_ASSIGN_OR_RETURN(bool chain, tables.HasChain(family, kTable, kChain));
    FL_ASSIGN_OR_RETURN(bool legacy, HasLegacyChain(family));
    found.nftables |= table;
    found.iptables_nft |= chain;
    found.iptables_legacy |= legacy;
  }
  found.ipvs = HasVirtualServers();
  return found;
}

}  // namespace fairlead::agent
