// SPDX-License-Identifier: Apache-2.0
// What this room's files share of SQLite: owners, errors, and how a file is
// known to be a store.
// Threads: a database belongs to one thread at a time.
#ifndef FAIRLEAD_CONTROL_STORE_SQLITE_H_
#define FAIRLEAD_CONTROL_STORE_SQLITE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::store {

// Marks a file as ours, so that any other SQLite file is refused.
inline constexpr int kApplicationId = 0x464c5354;  // "FLST"
inline constexpr int kFormat = 3;
inline constexpr int kOldestFormat = 1;

struct DatabaseClose {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Database = std::unique_ptr<sqlite3, DatabaseClose>;
struct StatementFinalize {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Statement = std::unique_ptr<sqlite3_stmt, StatementFinalize>;

// The one place where SQLite's result codes become a Status: kUnavailable
// (another process has the file), kDataLoss (damaged, or no database),
// kResourceExhausted (the disk is full), kPermissionDenied, kInternal.
[[nodiscard]] absl::Status SqliteStatus(sqlite3* db, int code,
                                        std::string_view operation);

// `flags`: SQLITE_OPEN_*. A file that is made, and one that is there, is for
// its owner only: it holds Secrets.
[[nodiscard]] absl::StatusOr<Database> OpenDatabase(const std::string& path,
                                                    int flags);
[[nodiscard]] absl::Status Execute(sqlite3* db, const char* sql);
[[nodiscard]] absl::StatusOr<Statement> Prepare(sqlite3* db, const char* sql);
// kNotFound: no row.
[[nodiscard]] absl::StatusOr<int64_t> QueryInteger(sqlite3* db,
                                                   const char* sql);

// kDataLoss: not a store. kFailedPrecondition: a later program's.
[[nodiscard]] absl::Status CheckIsStore(sqlite3* db);

}  // namespace fairlead::store

#endif  // FAIRLEAD_CONTROL_STORE_SQLITE_H_
