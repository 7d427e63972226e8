// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/tracked_udp.h"

#include <arpa/inet.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/netfilter/ct.h>
#include <netlink/netfilter/nfnl.h>
#include <netlink/socket.h>

#include <memory>
#include <optional>

#include "userspace/base/strings.h"

namespace fairlead::netlink {
namespace {

std::optional<IpAddress> AddressOf(const nl_addr* addr) {
  if (addr == nullptr) return std::nullopt;
  const auto* bytes =
      static_cast<const uint8_t*>(nl_addr_get_binary_addr(addr));
  char text[INET6_ADDRSTRLEN];
  const int family = nl_addr_get_family(addr);
  if (inet_ntop(family, bytes, text, sizeof(text)) == nullptr)
    return std::nullopt;
  const auto address = IpAddress::Parse(text);
  return address.ok() ? std::optional(*address) : std::nullopt;
}

bool IsChosen(nfnl_ct* flow,
              const std::function<bool(const TrackedFlow&)>& which) {
  if (nfnl_ct_get_proto(flow) != IPPROTO_UDP) return false;
  const auto answers = AddressOf(nfnl_ct_get_src(flow, /*repl=*/1));
  const auto to = AddressOf(nfnl_ct_get_dst(flow, /*repl=*/0));
  return answers && to &&
         which({*to, nfnl_ct_get_dst_port(flow, /*repl=*/0), *answers});
}

}  // namespace

absl::StatusOr<int> ForgetUdpFlows(
    const std::function<bool(const TrackedFlow&)>& which) {
  const std::unique_ptr<nl_sock, void (*)(nl_sock*)> socket(nl_socket_alloc(),
                                                            nl_socket_free);
  nl_cache* flows = nullptr;
  int error = socket == nullptr ? -NLE_NOMEM : nfnl_connect(socket.get());
  if (error == 0) error = nfnl_ct_alloc_cache(socket.get(), &flows);
  if (error != 0) {
    return absl::UnavailableError(
        StrCat("list tracked flows: ", nl_geterror(error)));
  }
  int forgotten = 0;
  for (nl_object* o = nl_cache_get_first(flows); o != nullptr;
       o = nl_cache_get_next(o)) {
    auto* flow = reinterpret_cast<nfnl_ct*>(o);
    // One that has just ended is no error.
    if (IsChosen(flow, which) && nfnl_ct_del(socket.get(), flow, 0) == 0)
      ++forgotten;
  }
  nl_cache_free(flows);
  return forgotten;
}

}  // namespace fairlead::netlink
