// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/owned_routes.h"

#include <linux/rtnetlink.h>
#include <netlink/netlink.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <array>
#include <cstring>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::netlink {
namespace {

struct Free {
  void operator()(nl_sock* s) const { nl_socket_free(s); }
  void operator()(nl_addr* a) const { nl_addr_put(a); }
  void operator()(rtnl_route* r) const { rtnl_route_put(r); }
  void operator()(rtnl_neigh* n) const { rtnl_neigh_put(n); }
  void operator()(nl_cache* c) const { nl_cache_free(c); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

absl::Status NlStatus(int error, std::string_view operation,
                      const std::string& object) {
  if (error >= 0) return absl::OkStatus();
  const std::string text =
      StrCat(operation, " ", object, ": ", nl_geterror(error));
  switch (-error) {
    case NLE_PERM:
      return absl::PermissionDeniedError(text);
    case NLE_OBJ_NOTFOUND:
    case NLE_NODEV:
      return absl::NotFoundError(text);
    case NLE_EXIST:
      return absl::AlreadyExistsError(text);
    default:
      return absl::InternalError(text);
  }
}

int FamilyOf(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

Owned<nl_addr> ToNl(const IpAddress& address, int bits) {
  const bool v4 = address.is_v4();
  const uint8_t* bytes = address.bytes().data() + (v4 ? 12 : 0);
  Owned<nl_addr> result(nl_addr_build(FamilyOf(address), bytes, v4 ? 4 : 16));
  nl_addr_set_prefixlen(result.get(), bits);
  return result;
}

Owned<nl_addr> ToNl(const IpAddress& address) {
  return ToNl(address, address.is_v4() ? 32 : 128);
}

std::optional<IpAddress> FromNl(const nl_addr* address) {
  if (address == nullptr) return std::nullopt;
  const auto* bytes =
      static_cast<const uint8_t*>(nl_addr_get_binary_addr(address));
  IpAddress::Bytes out{};
  if (nl_addr_get_len(address) == 16) {
    std::memcpy(out.data(), bytes, 16);
  } else if (nl_addr_get_len(address) == 4) {
    out[10] = out[11] = 0xff;
    std::memcpy(out.data() + 12, bytes, 4);
  } else {
    return std::nullopt;
  }
  return IpAddress(out);
}

Owned<rtnl_route> ToNl(const OwnedRoute& route, uint8_t protocol) {
  Owned<rtnl_route> result(rtnl_route_alloc());
  rtnl_route* r = result.get();
  const IpAddress& to = route.destination.address();
  rtnl_route_set_family(r, static_cast<uint8_t>(FamilyOf(to)));
  rtnl_route_set_dst(r, ToNl(to, route.destination.bits()).get());
  rtnl_route_set_protocol(r, protocol);
  rtnl_route_set_table(r, RT_TABLE_MAIN);
  if (route.source)
    rtnl_route_set_pref_src(r, ToNl(*route.source).get());
  if (route.link_index == 0) {
    rtnl_route_set_type(r, RTN_UNREACHABLE);
    rtnl_route_set_scope(r, RT_SCOPE_UNIVERSE);
    return result;
  }
  rtnl_route_set_scope(r,
                       route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
  rtnl_nexthop* hop = rtnl_route_nh_alloc();
  rtnl_route_nh_set_ifindex(hop, route.link_index);
  if (route.gateway) {
    rtnl_route_nh_set_gateway(hop, ToNl(*route.gateway).get());
    rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
  }
  rtnl_route_add_nexthop(r, hop);  // owns it
  return result;
}

std::optional<OwnedRoute> FromNl(rtnl_route* r, uint8_t protocol) {
  if (rtnl_route_get_protocol(r) != protocol ||
      rtnl_route_get_table(r) != RT_TABLE_MAIN) {
    return std::nullopt;
  }
  const auto to = FromNl(rtnl_route_get_dst(r));
  if (!to) return std::nullopt;
  OwnedRoute route{.destination = IpPrefix(
      *to, static_cast<int>(nl_addr_get_prefixlen(rtnl_route_get_dst(r))))};
  route.source = FromNl(rtnl_route_get_pref_src(r));
  if (rtnl_route_get_type(r) == RTN_UNREACHABLE) return route;
  rtnl_nexthop* hop = rtnl_route_nexthop_n(r, 0);
  if (hop == nullptr) return std::nullopt;
  route.link_index = rtnl_route_nh_get_ifindex(hop);
  route.gateway = FromNl(rtnl_route_nh_get_gateway(hop));
  return route;
}

}  // namespace

struct OwnedRoutes::Impl {
  Owned<nl_sock> socket;
  uint8_t protocol = 0;
};

std::string OwnedRoute::ToString() const {
  return StrCat(link_index == 0 ? "unreachable " : "", destination.ToString(),
                gateway ? StrCat(" via ", gateway->ToString()) : "",
                link_index == 0 ? "" : StrCat(" device ", link_index));
}

OwnedRoutes::OwnedRoutes(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OwnedRoutes::OwnedRoutes(OwnedRoutes&&) noexcept = default;
OwnedRoutes& OwnedRoutes::operator=(OwnedRoutes&&) noexcept = default;
OwnedRoutes::~OwnedRoutes() = default;

absl::StatusOr<OwnedRoutes> OwnedRoutes::Open(uint8_t protocol) {
  auto impl = std::make_unique<Impl>();
  impl->socket.reset(nl_socket_alloc());
  impl->protocol = protocol;
  FL_RETURN_IF_ERROR(NlStatus(nl_connect(impl->socket.get(), NETLINK_ROUTE),
                              "open", "rtnetlink socket"));
  return OwnedRoutes(std::move(impl));
}

absl::StatusOr<std::set<OwnedRoute>> OwnedRoutes::List() {
  std::set<OwnedRoute> routes;
  for (const int family : {AF_INET, AF_INET6}) {
    nl_cache* raw = nullptr;
    FL_RETURN_IF_ERROR(NlStatus(
        rtnl_route_alloc_cache(impl_->socket.get(), family, 0, &raw), "list",
        "routes"));
    const Owned<nl_cache> cache(raw);
    for (nl_object* at = nl_cache_get_first(cache.get()); at != nullptr;
         at = nl_cache_get_next(at)) {
      const auto route =
          FromNl(reinterpret_cast<rtnl_route*>(at), impl_->protocol);
      if (route) routes.insert(*route);
    }
  }
  return routes;
}

absl::Status OwnedRoutes::Replace(const OwnedRoute& route) {
  const Owned<rtnl_route> r = ToNl(route, impl_->protocol);
  return NlStatus(rtnl_route_add(impl_->socket.get(), r.get(),
                                 NLM_F_CREATE | NLM_F_REPLACE),
                  "set route", route.ToString());
}

absl::Status OwnedRoutes::Delete(const OwnedRoute& route) {
  const Owned<rtnl_route> r = ToNl(route, impl_->protocol);
  const int error = rtnl_route_delete(impl_->socket.get(), r.get(), 0);
  // The kernel says ESRCH for a route that isn't there.
  if (error == -NLE_OBJ_NOTFOUND || error == -NLE_NODEV)
    return absl::OkStatus();
  return NlStatus(error, "delete route", route.ToString());
}

absl::Status OwnedRoutes::SetNeighbour(int link_index,
                                       const IpAddress& address,
                                       const std::string& mac) {
  nl_addr* raw = nullptr;
  FL_RETURN_IF_ERROR(
      NlStatus(nl_addr_parse(mac.c_str(), AF_LLC, &raw), "parse MAC", mac));
  const Owned<nl_addr> lladdr(raw);
  const Owned<rtnl_neigh> neighbour(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(neighbour.get(), link_index);
  rtnl_neigh_set_dst(neighbour.get(), ToNl(address).get());
  rtnl_neigh_set_lladdr(neighbour.get(), lladdr.get());
  rtnl_neigh_set_state(neighbour.get(), NUD_PERMANENT);
  return NlStatus(rtnl_neigh_add(impl_->socket.get(), neighbour.get(),
                                 NLM_F_CREATE | NLM_F_REPLACE),
                  "set neighbour", address.ToString());
}

}  // namespace fairlead::netlink
