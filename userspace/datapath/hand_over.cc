// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/hand_over.h"

#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/attach.h"
#include "userspace/datapath/map_sizes.h"
#include "userspace/datapath/predecessor.h"
#include "userspace/datapath/program_config.h"
#include "userspace/datapath/requirements.h"

namespace fairlead::datapath {
namespace {

// The programs' clock.
uint32_t NowSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint32_t>(now.tv_sec);
}

bool IsForward(const fl_flow_key& key, const fl_flow& flow) {
  return key.hook == FL_HOOK_INGRESS && (flow.flags & FL_FLOW_REPLY) == 0;
}

// How long a flow may be silent, as the programs have it (bpf/lib/flow.h).
uint32_t IdleLimit(uint8_t protocol, uint8_t state) {
  if (protocol == IPPROTO_UDP) {
    return state == FL_FLOW_NEW ? FL_FLOW_IDLE_UDP_NEW : FL_FLOW_IDLE_UDP;
  }
  switch (state) {
    case FL_FLOW_NEW:
      return FL_FLOW_IDLE_TCP_NEW;
    case FL_FLOW_CLOSING:
      return FL_FLOW_IDLE_CLOSING;
    case FL_FLOW_CLOSED:
      return 0;
    default:
      return FL_FLOW_IDLE_TCP;
  }
}

bool IsLive(const fl_flow_key& key, const fl_flow& a,
            const std::optional<fl_flow>& d, uint32_t now) {
  uint8_t state = a.state;
  uint32_t last_seen = a.last_seen;
  if (d.has_value()) {
    if (a.state == FL_FLOW_CLOSING && d->state == FL_FLOW_CLOSING) return false;
    state = std::max(a.state, d->state);
    last_seen = std::max(a.last_seen, d->last_seen);
  }
  return now < last_seen + uint64_t{IdleLimit(key.proto, state)};
}

// The directory at work, if it is of our version.
absl::StatusOr<PinLayout> FindOwn(const std::string& pin_root) {
  FL_ASSIGN_OR_RETURN(std::vector<PinLayout> layouts, FindVersions(pin_root));
  if (layouts.empty()) {
    return absl::NotFoundError(
        StrCat("no agent has put anything into ", pin_root));
  }
  for (const PinLayout& layout : layouts) {
    if (VersionOf(layout.version_name()) == FL_ABI_VERSION) continue;
    return absl::FailedPreconditionError(
        StrCat(layout.version_dir(),
               " is another version's: hand over with that version's agent"));
  }
  if (layouts.size() > 1) {
    return absl::FailedPreconditionError(
        StrCat("an agent was interrupted while it took ",
               layouts[1].version_dir(), " over: start it again first"));
  }
  return layouts[0];
}

}  // namespace

absl::StatusOr<std::unique_ptr<HandOver>> HandOver::Begin(
    const std::string& pin_root) {
  FL_RETURN_IF_ERROR(CheckPrivileges());
  auto lock = RootLock::Take(pin_root, RootLock::Kind::kAlone);
  if (absl::IsUnavailable(lock.status())) {
    return absl::UnavailableError(
        StrCat("an agent is at work on ", pin_root,
               ": stop it first (what it has put into the kernel goes on)"));
  }
  FL_RETURN_IF_ERROR(lock.status());
  FL_ASSIGN_OR_RETURN(PinLayout found, FindOwn(pin_root));
  std::unique_ptr<HandOver> hand_over(
      new HandOver(*std::move(lock), std::move(found)));
  const PinLayout& layout = hand_over->layout_;
  FL_ASSIGN_OR_RETURN(fl_config config, ReadProgramConfig(layout));
  config.takeover = 0;
  config.handover = 1;
  FL_ASSIGN_OR_RETURN(hand_over->programs_,
                      Programs::Load(layout, config, MapSizes()));
  FL_ASSIGN_OR_RETURN(hand_over->flows_, FlowTable::Open(layout));
  FL_RETURN_IF_ERROR(ReplacePrograms(layout, *hand_over->programs_));
  return hand_over;
}

absl::StatusOr<uint64_t> HandOver::LiveFlows() const {
  const uint32_t now = NowSeconds();
  uint64_t live = 0;
  absl::Status status;
  FL_RETURN_IF_ERROR(
      flows_.ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
        if (!IsForward(key, flow)) return true;
        auto reply = flows_.Lookup(AnswerKey(key, flow));
        status = reply.status();
        if (status.ok()) live += IsLive(key, flow, *reply, now);
        return status.ok();
      }));
  FL_RETURN_IF_ERROR(status);
  return live;
}

}  // namespace fairlead::datapath
