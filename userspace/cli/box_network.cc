// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/box_network.h"

#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/netlink/netlink_socket.h"

namespace fairlead::cli {
namespace {

using netlink::NetlinkSocket;
using netlink::Route;

absl::Status EnsureNetns(const std::string& name) {
  absl::Status status = CreateNetns(name);
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

absl::Status WriteSysctl(const std::string& path, std::string_view value) {
  std::ofstream file("/proc/sys/net/" + path);
  file << value;
  file.close();
  return file ? absl::OkStatus() : ErrnoStatus(errno, "set", path);
}

// Forwards packets, of both families. Runs inside the namespace.
absl::Status BecomeRouter() {
  FL_RETURN_IF_ERROR(WriteSysctl("ipv4/ip_forward", "1"));
  return WriteSysctl("ipv6/conf/all/forwarding", "1");
}

absl::Status AddBoth(NetlinkSocket& socket, const std::string& device,
                     const DualAddress& address) {
  FL_RETURN_IF_ERROR(socket.AddAddress(device, address.v4, address.v4_bits));
  return socket.AddAddress(device, address.v6, address.v6_bits);
}

absl::Status AddDefaultRoutes(NetlinkSocket& socket, const std::string& device,
                              const DualAddress& gateway) {
  for (const IpAddress& via : {gateway.v4, gateway.v6}) {
    FL_RETURN_IF_ERROR(socket.AddRoute(
        {.destination = IpPrefix(IpAddress::Unspecified(via.family()), 0),
         .link = device,
         .gateway = via}));
  }
  return absl::OkStatus();
}

// A veth from the fabric (`port`) to eth0 of `netns`, with its address and
// default route there. Runs inside the fabric.
absl::Status Connect(NetlinkSocket& fabric, const std::string& port,
                     const std::string& netns, const DualAddress& address,
                     const DualAddress& gateway) {
  UniqueFd peer(open(NetnsPath(netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (!peer.valid())
    return ErrnoStatus(errno, "open network namespace", netns);
  absl::Status made = fabric.CreateVeth(port, "eth0", peer.get());
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  FL_RETURN_IF_ERROR(fabric.SetUp(port));
  return RunInNetns(NetnsPath(netns), [&] {
    FL_ASSIGN_OR_RETURN(NetlinkSocket inside, NetlinkSocket::Open());
    FL_RETURN_IF_ERROR(inside.SetUp("eth0"));
    FL_RETURN_IF_ERROR(AddBoth(inside, "eth0", address));
    return AddDefaultRoutes(inside, "eth0", gateway);
  });
}

absl::Status BuildFabric(const Box& box) {
  FL_RETURN_IF_ERROR(BecomeRouter());
  FL_ASSIGN_OR_RETURN(NetlinkSocket fabric, NetlinkSocket::Open());
  absl::Status made = fabric.CreateBridge("fabric0");
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  FL_RETURN_IF_ERROR(fabric.SetUp("fabric0"));
  FL_RETURN_IF_ERROR(AddBoth(fabric, "fabric0", Box::FabricAddress()));
  for (int node = 1; node <= box.nodes; ++node) {
    std::string port = Box::NodeName(node);
    FL_RETURN_IF_ERROR(Connect(fabric, port, box.NodeNetns(node),
                               Box::NodeAddress(node), Box::FabricAddress()));
    FL_RETURN_IF_ERROR(fabric.SetMaster(port, "fabric0"));
  }
  FL_RETURN_IF_ERROR(Connect(fabric, "client0", box.Outside(),
                             Box::OutsideAddress(), Box::RouterOfOutside()));
  return AddBoth(fabric, "client0", Box::RouterOfOutside());
}

}  // namespace

absl::Status BuildNetwork(const Box& box) {
  FL_RETURN_IF_ERROR(EnsureNetns(box.Fabric()));
  FL_RETURN_IF_ERROR(EnsureNetns(box.Outside()));
  for (int node = 1; node <= box.nodes; ++node) {
    FL_RETURN_IF_ERROR(EnsureNetns(box.NodeNetns(node)));
    FL_RETURN_IF_ERROR(
        RunInNetns(NetnsPath(box.NodeNetns(node)), BecomeRouter));
  }
  return WithContext(
      RunInNetns(NetnsPath(box.Fabric()), [&] { return BuildFabric(box); }),
      "network of the box");
}

absl::Status RouteToPods(const Box& box, int node,
                         const std::vector<IpPrefix>& pods) {
  const DualAddress address = Box::NodeAddress(node);
  return RunInNetns(NetnsPath(box.Fabric()), [&]() -> absl::Status {
    FL_ASSIGN_OR_RETURN(NetlinkSocket fabric, NetlinkSocket::Open());
    for (const IpPrefix& prefix : pods) {
      const bool v4 = prefix.family() == IpFamily::kIpv4;
      FL_RETURN_IF_ERROR(
          fabric.AddRoute({.destination = prefix,
                           .link = "fabric0",
                           .gateway = v4 ? address.v4 : address.v6}));
    }
    return absl::OkStatus();
  });
}

absl::Status RemoveNetwork(const Box& box) {
  std::error_code error;
  std::string prefix = StrCat("fl-", box.name, "-");
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(NetnsPath(""), error)) {
    std::string name = entry.path().filename();
    if (absl::StartsWith(name, prefix)) names.push_back(name);
  }
  absl::Status result;
  for (const std::string& name : names) result.Update(DeleteNetns(name));
  return result;
}

}  // namespace fairlead::cli
