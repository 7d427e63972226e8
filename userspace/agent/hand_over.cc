// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/hand_over.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/time/clock.h"
#include "userspace/agent/kube_proxy_rules.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/datapath/datapath.h"
#include "userspace/datapath/hand_over.h"

namespace fairlead::agent {
namespace {

constexpr absl::Duration kPoll = absl::Seconds(1);
constexpr int kPollsALine = 30;  // in the log

class Progress {
 public:
  void Show(uint64_t flows) {
    if (terminal_) {
      fprintf(stderr, "\r%llu flows are still open \033[K",
              static_cast<unsigned long long>(flows));
    } else if (polls_++ % kPollsALine == 0) {
      spdlog::info("msg=\"waiting for flows to end\" flows={}", flows);
    }
  }
  ~Progress() {
    if (terminal_) fputc('\n', stderr);
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  int polls_ = 0;
};

// How many flows live when the time is up.
absl::StatusOr<uint64_t> WaitForFlows(const datapath::HandOver& hand_over,
                                      absl::Duration timeout) {
  Progress progress;
  const absl::Duration until = Clock::Real().Monotonic() + timeout;
  for (;;) {
    FL_ASSIGN_OR_RETURN(uint64_t flows, hand_over.LiveFlows());
    if (flows == 0 || Clock::Real().Monotonic() >= until) return flows;
    progress.Show(flows);
    absl::SleepFor(kPoll);
  }
}

}  // namespace

absl::Status HandOverToKubeProxy(const std::string& bpf_root,
                                 absl::Duration timeout) {
  FL_ASSIGN_OR_RETURN(KubeProxyRules rules, FindKubeProxyRules());
  if (!rules.any()) {
    return absl::FailedPreconditionError(
        "kube-proxy has no rules here, new connections to Services would fail: "
        "start it first (or remove all with --cleanup)");
  }
  FL_ASSIGN_OR_RETURN(std::unique_ptr<datapath::HandOver> hand_over,
                      datapath::HandOver::Begin(bpf_root));
  spdlog::info("msg=\"new flows are kube-proxy's\" rules=\"{}\"",
               rules.ToString());
  FL_ASSIGN_OR_RETURN(uint64_t left, WaitForFlows(*hand_over, timeout));
  if (left > 0) {
    spdlog::warn("msg=\"the time is up, flows end\" flows={}", left);
  }
  FL_RETURN_IF_ERROR(datapath::Cleanup(bpf_root));
  spdlog::info("msg=\"handed over to kube-proxy\" bpf_root={}", bpf_root);
  return absl::OkStatus();
}

}  // namespace fairlead::agent
