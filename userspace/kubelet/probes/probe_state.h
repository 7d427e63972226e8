// SPDX-License-Identifier: Apache-2.0
// Thresholds of one probe: how single results become a verdict.
// A plain value; not thread-safe.
#ifndef FAIRLEAD_USERSPACE_KUBELET_PROBES_PROBE_STATE_H_
#define FAIRLEAD_USERSPACE_KUBELET_PROBES_PROBE_STATE_H_

namespace fairlead::kubelet {

class ProbeState {
 public:
  // `initial`: the verdict before any result (readiness and startup: false,
  // liveness: true).
  ProbeState(int success_threshold, int failure_threshold, bool initial)
      : success_threshold_(success_threshold),
        failure_threshold_(failure_threshold),
        verdict_(initial) {}

  // Returns whether the verdict changed.
  bool OnResult(bool success) {
    run_ = success == last_ ? run_ + 1 : 1;
    last_ = success;
    const int threshold = success ? success_threshold_ : failure_threshold_;
    if (run_ < threshold) return false;
    const bool changed = verdict_ != success;
    verdict_ = success;
    return changed;
  }
  bool verdict() const { return verdict_; }
  int run() const { return run_; }

 private:
  int success_threshold_, failure_threshold_;
  bool verdict_;
  bool last_ = false;
  int run_ = 0;  // equal results in a row
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_PROBES_PROBE_STATE_H_
