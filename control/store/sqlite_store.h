// SPDX-License-Identifier: Apache-2.0
// The store of a single controller: a SQLite file in WAL mode with
// synchronous=FULL. A writer thread commits whatever has queued up in one
// transaction (group commit), so an acknowledged write is on disk and many
// writers share one fsync.
#ifndef FAIRLEAD_CONTROL_STORE_SQLITE_STORE_H_
#define FAIRLEAD_CONTROL_STORE_SQLITE_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "control/store/store.h"
#include "userspace/base/event_loop.h"

namespace fairlead::store {

// Opens or creates the file. `loop` must outlive the store. Errors name the
// file: kUnavailable when another process has it open, kDataLoss when it is
// damaged or not ours, else what the system said. Destroying the store waits
// for queued writes. A commit without writes changes nothing, but writes to the
// file: it says whether that can be done.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(
    EventLoop* loop, const std::string& path);

}  // namespace fairlead::store

#endif  // FAIRLEAD_CONTROL_STORE_SQLITE_STORE_H_
