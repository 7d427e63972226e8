// SPDX-License-Identifier: Apache-2.0
// Copies of the store, made while it is in use: one an interval, the newest few
// kept, each named after its time, such as 20261123T044500Z.db.
// Threads: the event loop's.
#ifndef FAIRLEAD_CONTROL_SERVER_BACKUPS_H_
#define FAIRLEAD_CONTROL_SERVER_BACKUPS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "control/store/store.h"
#include "userspace/base/event_loop.h"

namespace fairlead::server {

struct BackupOptions {
  std::string folder;  // made when the first one is
  absl::Duration interval = absl::Hours(1);  // 0: only when asked
  size_t keep = 24;
};

// kNotFound: there is none.
[[nodiscard]] absl::StatusOr<std::string> NewestBackup(
    const std::string& folder);

class Backups {
 public:
  // `loop` and `store` must outlive it. Waits for an interval after the newest
  // one that is there, also if another process made it.
  Backups(EventLoop* loop, store::Store* store, BackupOptions options);
  Backups(const Backups&) = delete;
  Backups& operator=(const Backups&) = delete;

  // Makes one now, unless one is being made. The log says what became of it.
  void Make();
  // For /metrics.
  std::string Metrics() const;

 private:
  void Schedule();
  void Finished(const std::string& path, const absl::Status& status);
  void RemoveOld();

  EventLoop* loop_;
  store::Store* store_;
  BackupOptions options_;
  Timer next_;
  bool under_way_ = false;
  uint64_t made_ = 0;
  uint64_t failed_ = 0;
};

}  // namespace fairlead::server

#endif  // FAIRLEAD_CONTROL_SERVER_BACKUPS_H_
