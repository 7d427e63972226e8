// SPDX-License-Identifier: Apache-2.0
// A store's file, copied while it is in use, and put back.
#ifndef FAIRLEAD_CONTROL_STORE_BACKUP_H_
#define FAIRLEAD_CONTROL_STORE_BACKUP_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/store/sqlite.h"
#include "control/store/store.h"

namespace fairlead::store {

// One copy under way. What is written to the source between two steps, over
// the same connection, is in the copy.
// Threads: the one that has the source.
class Copy {
 public:
  // `from` must outlive it. Nothing may be at `path` yet.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Copy>> Start(
      sqlite3* from, const std::string& path);
  ~Copy();
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  // True: `path` is there, whole and on disk.
  [[nodiscard]] absl::StatusOr<bool> Step();

 private:
  Copy(std::string path, Database to) : path_(std::move(path)),
                                        to_(std::move(to)) {}
  std::string part() const { return path_ + ".part"; }

  std::string path_;
  Database to_;
  sqlite3_backup* backup_ = nullptr;
};

// After a restore, revisions go on this much higher than the backup's: whoever
// has seen later ones is told that they are gone, and lists anew.
inline constexpr Revision kRestoreGap = 1'000'000'000;

// Puts a copy of the backup in the place of the store `path`, which may be
// missing or damaged; what was there is kept as `path`.replaced. Returns the
// revision that the store goes on from. kUnavailable: a controller runs on it.
// kDataLoss: the backup is damaged or no store. Then nothing has changed.
[[nodiscard]] absl::StatusOr<Revision> RestoreSqliteStore(
    const std::string& backup, const std::string& path);

}  // namespace fairlead::store

#endif  // FAIRLEAD_CONTROL_STORE_BACKUP_H_
