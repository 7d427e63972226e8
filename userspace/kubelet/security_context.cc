// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/security_context.h"

#include <array>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

// The one of the two objects that has the field; a null when none has.
const Json& Effective(const Json& pod, const Json& container,
                      const char* field) {
  const Json& own = At(container, {field});
  return own.is_null() ? At(pod, {field}) : own;
}

std::optional<int64_t> Id(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  return value.get<int64_t>();
}

// In the order of their numbers (linux/capability.h).
constexpr std::array<std::string_view, 41> kCapabilities = {
    "CHOWN",           "DAC_OVERRIDE",     "DAC_READ_SEARCH",
    "FOWNER",          "FSETID",           "KILL",
    "SETGID",          "SETUID",           "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_ADMIN",       "NET_RAW",          "IPC_LOCK",
    "IPC_OWNER",       "SYS_MODULE",       "SYS_RAWIO",
    "SYS_CHROOT",      "SYS_PTRACE",       "SYS_PACCT",
    "SYS_ADMIN",       "SYS_BOOT",         "SYS_NICE",
    "SYS_RESOURCE",    "SYS_TIME",         "SYS_TTY_CONFIG",
    "MKNOD",           "LEASE",            "AUDIT_WRITE",
    "AUDIT_CONTROL",   "SETFCAP",          "MAC_OVERRIDE",
    "MAC_ADMIN",       "SYSLOG",           "WAKE_ALARM",
    "BLOCK_SUSPEND",   "AUDIT_READ",       "PERFMON",
    "BPF",             "CHECKPOINT_RESTORE"};
constexpr uint64_t kEveryCapability =
    (uint64_t{1} << kCapabilities.size()) - 1;
// What container runtimes leave to a container that isn't privileged.
constexpr uint64_t kDefaultCapabilities = 0xa80425fb;

// "NET_ADMIN" or "CAP_NET_ADMIN", in any case; 0 for an unknown one.
uint64_t CapabilityBit(std::string name) {
  absl::AsciiStrToUpper(&name);
  const auto bare = absl::StripPrefix(name, "CAP_");
  for (size_t i = 0; i < kCapabilities.size(); ++i) {
    if (kCapabilities[i] == Std(bare)) return uint64_t{1} << i;
  }
  return 0;
}

bool NamesAll(const Json& list) {
  for (const Json& name : list) {
    if (name == Json("ALL")) return true;
  }
  return false;
}

uint64_t BitsOf(const Json& list, std::string* unknown) {
  uint64_t bits = 0;
  for (const Json& name : list) {
    if (!name.is_string() || name == Json("ALL")) continue;
    const uint64_t bit = CapabilityBit(name.get<std::string>());
    if (bit == 0 && unknown->empty()) *unknown = name.get<std::string>();
    bits |= bit;
  }
  return bits;
}

// "ALL" first, single names after it, and drop wins: a runtime's order.
uint64_t DecodeCapabilities(const Json& container, std::string* unknown) {
  if (BoolAt(container, {"privileged"})) return kEveryCapability;
  const Json& add = At(container, {"capabilities", "add"});
  const Json& drop = At(container, {"capabilities", "drop"});
  uint64_t bits = kDefaultCapabilities;
  if (NamesAll(add)) bits = kEveryCapability;
  if (NamesAll(drop)) bits = 0;
  bits |= BitsOf(add, unknown);
  return bits & ~BitsOf(drop, unknown);
}

bool IsId(int64_t id) {
  return id >= 0 && id <= std::numeric_limits<int32_t>::max();
}

}  // namespace

SecurityContext DecodeSecurityContext(const Json& pod, const Json& container) {
  SecurityContext context;
  context.user = Id(Effective(pod, container, "runAsUser"));
  context.group = Id(Effective(pod, container, "runAsGroup"));
  for (const Json& group : At(pod, {"supplementalGroups"})) {
    if (const auto id = Id(group)) context.extra_groups.push_back(*id);
  }
  if (const auto id = Id(At(pod, {"fsGroup"})))
    context.extra_groups.push_back(*id);
  context.non_root =
      Effective(pod, container, "runAsNonRoot") == Json(true);
  context.no_new_privs =
      At(container, {"allowPrivilegeEscalation"}) == Json(false);
  context.read_only_root = BoolAt(container, {"readOnlyRootFilesystem"});
  context.capabilities =
      DecodeCapabilities(container, &context.unknown_capability);
  return context;
}

absl::Status CheckSecurityContext(const SecurityContext& context,
                                  std::string_view pod,
                                  std::string_view container) {
  std::vector<int64_t> ids = context.extra_groups;
  if (context.user) ids.push_back(*context.user);
  if (context.group) ids.push_back(*context.group);
  for (const int64_t id : ids) {
    if (!IsId(id)) {
      return absl::InvalidArgumentError(
          StrCat("securityContext: ", id, " is no user or group id (0 to ",
                 std::numeric_limits<int32_t>::max(), ")"));
    }
  }
  if (!context.unknown_capability.empty()) {
    return absl::FailedPreconditionError(StrCat(
        "unknown capability \"", context.unknown_capability, "\""));
  }
  if (!context.non_root || context.user.value_or(0) != 0)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(context.user ? "container's runAsUser breaks non-root policy"
                          : "container has runAsNonRoot and image will run as "
                            "root",
             " (pod: \"", pod, "\", container: ", container, ")"));
}

}  // namespace fairlead::kubelet
