// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::datapath {
namespace {

// Attach types of Linux 6.6, which older UAPI headers lack.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);

// Where our filter sits in clsact: how the next agent finds it.
constexpr uint32_t kClsactHandle = 1;
constexpr uint32_t kClsactPriority = 1;

struct CgroupHook {
  const char* program;
  bpf_attach_type type;
};
// What undoes comes before what translates, so that no socket is translated
// while nothing can tell it the truth; detached in reverse.
constexpr CgroupHook kCgroupHooks[] = {
    {"fl_sock_release", BPF_CGROUP_INET_SOCK_RELEASE},
    {"fl_getpeername4", BPF_CGROUP_INET4_GETPEERNAME},
    {"fl_getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
    {"fl_recvmsg4", BPF_CGROUP_UDP4_RECVMSG},
    {"fl_recvmsg6", BPF_CGROUP_UDP6_RECVMSG},
    {"fl_sendmsg4", BPF_CGROUP_UDP4_SENDMSG},
    {"fl_sendmsg6", BPF_CGROUP_UDP6_SENDMSG},
    {"fl_connect4", BPF_CGROUP_INET4_CONNECT},
    {"fl_connect6", BPF_CGROUP_INET6_CONNECT},
};

struct TcHook {
  Direction direction;
  const char* program;
  const char* program_l3;  // for devices without a link header
  bpf_attach_type type;
  bpf_tc_attach_point point;
};
// Replies first, as above.
constexpr TcHook kTcHooks[] = {
    {Direction::kEgress, "fl_tc_egress", "fl_tc_egress_l3", kTcxEgress,
     BPF_TC_EGRESS},
    {Direction::kIngress, "fl_tc_ingress", "fl_tc_ingress_l3", kTcxIngress,
     BPF_TC_INGRESS},
};

// Do frames of the device begin with an Ethernet header? (tun, WireGuard and
// ipip devices carry IP alone.)
absl::StatusOr<bool> HasLinkHeader(int ifindex) {
  ifreq request = {};
  if (if_indextoname(ifindex, request.ifr_name) == nullptr) {
    return ErrnoStatus(errno, "find device", StrCat(ifindex));
  }
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) {
    return ErrnoStatus(errno, "ask for the type of device", request.ifr_name);
  }
  return request.ifr_hwaddr.sa_family == ARPHRD_ETHER ||
         request.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
}

absl::StatusOr<bpf_link_info> LinkInfo(int link, const std::string& path) {
  bpf_link_info info = {};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(link, &info, &size) != 0) {
    return ErrnoStatus(errno, "inspect link", path);
  }
  return info;
}

// The device of a tcx link: its index lies where an XDP link has it (UAPI);
// 0 once the device is gone.
int TcxDevice(const bpf_link_info& info) {
  return static_cast<int>(info.xdp.ifindex);
}

// Ends the attachment even if somebody else still holds the link open.
absl::Status RemoveLink(const std::string& path) {
  UniqueFd link(bpf_obj_get(path.c_str()));
  if (link.valid()) {
    // Fails on a link whose device or cgroup is gone: nothing to end then.
    (void)bpf_link_detach(link.get());
  }
  return RemovePin(path);
}

// A crash before this leaves nothing: the kernel ends a link that has neither
// a pin nor an open descriptor.
absl::Status PinLink(int link, const std::string& path) {
  if (bpf_obj_pin(link, path.c_str()) != 0) {
    return ErrnoStatus(errno, "pin link", path);
  }
  return absl::OkStatus();
}

absl::Status AttachCgroupHook(const CgroupHook& hook, const std::string& path,
                              int program, int cgroup, uint64_t cgroup_id) {
  UniqueFd link(bpf_obj_get(path.c_str()));
  if (link.valid()) {
    FL_ASSIGN_OR_RETURN(bpf_link_info info, LinkInfo(link.get(), path));
    if (info.cgroup.cgroup_id == cgroup_id) {
      if (bpf_link_update(link.get(), program, nullptr) == 0) {
        return absl::OkStatus();
      }
      return ErrnoStatus(errno, "replace the program of", path);
    }
    link.reset();
    FL_RETURN_IF_ERROR(RemoveLink(path));
  } else if (errno != ENOENT) {
    return ErrnoStatus(errno, "open pinned link", path);
  }
  link.reset(bpf_link_create(program, cgroup, hook.type, nullptr));
  if (!link.valid()) {
    return ErrnoStatus(errno, "attach to the cgroup", hook.program);
  }
  return PinLink(link.get(), path);
}

absl::Status AttachTcx(const TcHook& hook, const std::string& path,
                       int program, int ifindex) {
  UniqueFd link(bpf_obj_get(path.c_str()));
  if (link.valid()) {
    FL_ASSIGN_OR_RETURN(bpf_link_info info, LinkInfo(link.get(), path));
    if (TcxDevice(info) == ifindex) {
      if (bpf_link_update(link.get(), program, nullptr) == 0) {
        return absl::OkStatus();
      }
      return ErrnoStatus(errno, "replace the program of", path);
    }
    // An earlier device had this index.
    link.reset();
    FL_RETURN_IF_ERROR(RemoveLink(path));
  } else if (errno != ENOENT) {
    return ErrnoStatus(errno, "open pinned link", path);
  }
  link.reset(bpf_link_create(program, ifindex, hook.type, nullptr));
  if (!link.valid()) {
    return ErrnoStatus(errno, "attach to device", StrCat(ifindex));
  }
  return PinLink(link.get(), path);
}

bpf_tc_hook ClsactHook(int ifindex, bpf_tc_attach_point point) {
  bpf_tc_hook hook = {};
  hook.sz = sizeof(hook);
  hook.ifindex = ifindex;
  hook.attach_point = point;
  return hook;
}

bpf_tc_opts ClsactFilter() {
  bpf_tc_opts opts = {};
  opts.sz = sizeof(opts);
  opts.handle = kClsactHandle;
  opts.priority = kClsactPriority;
  return opts;
}

absl::Status AttachClsact(const TcHook& hook, const std::string& path,
                          int program, int ifindex) {
  bpf_tc_hook at = ClsactHook(ifindex, hook.point);
  int result = bpf_tc_hook_create(&at);
  if (result != 0 && result != -EEXIST) {
    return ErrnoStatus(-result, "add clsact to device", StrCat(ifindex));
  }
  bpf_tc_opts opts = ClsactFilter();
  opts.prog_fd = program;
  opts.flags = BPF_TC_F_REPLACE;
  result = bpf_tc_attach(&at, &opts);
  if (result != 0) {
    return ErrnoStatus(-result, "attach to device", StrCat(ifindex));
  }
  FL_RETURN_IF_ERROR(RemovePin(path));
  return PinLink(program, path);
}

bool IsOurProgram(uint32_t program_id) {
  UniqueFd program(bpf_prog_get_fd_by_id(program_id));
  bpf_prog_info info = {};
  uint32_t size = sizeof(info);
  return program.valid() &&
         bpf_obj_get_info_by_fd(program.get(), &info, &size) == 0 &&
         strncmp(info.name, "fl_tc_", 6) == 0;
}

absl::Status DetachClsact(const TcHook& hook, const std::string& path,
                          int ifindex) {
  UniqueFd marker(bpf_obj_get(path.c_str()));
  if (!marker.valid()) return absl::OkStatus();
  bpf_tc_hook at = ClsactHook(ifindex, hook.point);
  bpf_tc_opts found = ClsactFilter();
  if (bpf_tc_query(&at, &found) == 0 && IsOurProgram(found.prog_id)) {
    bpf_tc_opts opts = ClsactFilter();
    int result = bpf_tc_detach(&at, &opts);
    if (result != 0 && result != -ENOENT && result != -ENODEV) {
      return ErrnoStatus(-result, "detach from device", StrCat(ifindex));
    }
  }
  return RemovePin(path);
}

absl::Status AttachHook(const PinLayout& layout, const TcHook& hook,
                        int program, int ifindex, TcMode mode) {
  std::string tcx = layout.TcxLinkPath(ifindex, hook.direction);
  std::string clsact = layout.ClsactPath(ifindex, hook.direction);
  if (mode != TcMode::kClsact) {
    absl::Status status = AttachTcx(hook, tcx, program, ifindex);
    if (status.ok()) return DetachClsact(hook, clsact, ifindex);
    // What a kernel says to an attach type that it doesn't know.
    if (mode == TcMode::kTcx || !absl::IsInvalidArgument(status)) {
      return status;
    }
  }
  FL_RETURN_IF_ERROR(AttachClsact(hook, clsact, program, ifindex));
  return RemoveLink(tcx);
}

}  // namespace

absl::Status AttachCgroup(const PinLayout& layout, const Programs& programs,
                          const std::string& cgroup_root) {
  UniqueFd cgroup(
      open(cgroup_root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.valid()) return ErrnoStatus(errno, "open", cgroup_root);
  struct stat status;
  if (fstat(cgroup.get(), &status) != 0) {
    return ErrnoStatus(errno, "stat", cgroup_root);
  }
  for (const CgroupHook& hook : kCgroupHooks) {
    FL_ASSIGN_OR_RETURN(int program, programs.Fd(hook.program));
    FL_RETURN_IF_ERROR(
        AttachCgroupHook(hook, layout.CgroupLinkPath(hook.program), program,
                         cgroup.get(), status.st_ino));
  }
  return absl::OkStatus();
}

absl::Status DetachCgroup(const PinLayout& layout) {
  for (size_t i = std::size(kCgroupHooks); i-- > 0;) {
    FL_RETURN_IF_ERROR(
        RemoveLink(layout.CgroupLinkPath(kCgroupHooks[i].program)));
  }
  return absl::OkStatus();
}

absl::Status AttachDevice(const PinLayout& layout, const Programs& programs,
                          int ifindex, TcMode mode) {
  FL_ASSIGN_OR_RETURN(const bool link_header, HasLinkHeader(ifindex));
  for (const TcHook& hook : kTcHooks) {
    FL_ASSIGN_OR_RETURN(
        int program,
        programs.Fd(link_header ? hook.program : hook.program_l3));
    FL_RETURN_IF_ERROR(AttachHook(layout, hook, program, ifindex, mode));
  }
  return absl::OkStatus();
}

absl::Status ReplacePrograms(const PinLayout& layout,
                             const Programs& programs) {
  for (const CgroupHook& hook : kCgroupHooks) {
    const std::string path = layout.CgroupLinkPath(hook.program);
    UniqueFd link(bpf_obj_get(path.c_str()));
    if (!link.valid() && errno == ENOENT) continue;
    FL_ASSIGN_OR_RETURN(int program, programs.Fd(hook.program));
    if (!link.valid() || bpf_link_update(link.get(), program, nullptr) != 0) {
      return ErrnoStatus(errno, "replace the program of", path);
    }
  }
  FL_RETURN_IF_ERROR(PruneDevices(layout));
  FL_ASSIGN_OR_RETURN(std::vector<int> devices, AttachedDevices(layout));
  for (int ifindex : devices) {
    FL_RETURN_IF_ERROR(
        AttachDevice(layout, programs, ifindex, TcMode::kAuto));
  }
  return absl::OkStatus();
}

absl::Status DetachDevice(const PinLayout& layout, int ifindex) {
  absl::Status first;
  for (size_t i = std::size(kTcHooks); i-- > 0;) {
    const TcHook& hook = kTcHooks[i];
    first.Update(RemoveLink(layout.TcxLinkPath(ifindex, hook.direction)));
    first.Update(DetachClsact(
        hook, layout.ClsactPath(ifindex, hook.direction), ifindex));
  }
  return first;
}

absl::StatusOr<std::vector<int>> AttachedDevices(const PinLayout& layout) {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names,
                      ListDirectory(layout.LinksDir()));
  std::vector<int> devices;
  for (const std::string& name : names) {
    if (auto pin = ParseDevicePin(name)) devices.push_back(pin->ifindex);
  }
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  return devices;
}

bool IsLinkName(std::string_view file_name) {
  if (ParseDevicePin(file_name).has_value()) return true;
  for (const CgroupHook& hook : kCgroupHooks) {
    if (file_name == StrCat("cgroup_", hook.program)) return true;
  }
  return false;
}

absl::Status PruneDevices(const PinLayout& layout) {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names,
                      ListDirectory(layout.LinksDir()));
  for (const std::string& name : names) {
    auto pin = ParseDevicePin(name);
    if (!pin) continue;
    std::string path = StrCat(layout.LinksDir(), "/", name);
    char device[IF_NAMESIZE];
    bool gone;
    if (pin->clsact) {
      gone = if_indextoname(pin->ifindex, device) == nullptr;
    } else {
      UniqueFd link(bpf_obj_get(path.c_str()));
      if (!link.valid()) return ErrnoStatus(errno, "open pinned link", path);
      FL_ASSIGN_OR_RETURN(bpf_link_info info, LinkInfo(link.get(), path));
      gone = TcxDevice(info) == 0;
    }
    if (gone) FL_RETURN_IF_ERROR(RemovePin(path));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::datapath
