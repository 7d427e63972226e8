// SPDX-License-Identifier: Apache-2.0
// What is in the file: its tables, the checksums of what they hold, and how
// files of earlier programs become ones of this.
//
//   object  key, revision, value, checksum
//   past    what replaced what: revision, key, value, checksum (of these), and
//           before_revision, before, before_checksum (of the row replaced).
//           Since format 3 without value: it is `before` of the key's next row,
//           or the object as it is; neither for a deletion
//   state   one row: revision, checksum
//
// Threads: a database belongs to one thread at a time.
#ifndef FAIRLEAD_CONTROL_STORE_FORMAT_H_
#define FAIRLEAD_CONTROL_STORE_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "control/store/sqlite.h"
#include "control/store/store.h"

namespace fairlead::store {

// CRC-32 over all three; no value: a deletion.
int64_t Checksum(std::string_view key, Revision revision,
                 std::optional<std::string_view> value);

// Makes an empty file a store, and a store of format 1 (without checksums) one
// of this format. kDataLoss: not a store. kFailedPrecondition: of a later
// program.
[[nodiscard]] absl::Status OpenFormat(sqlite3* db);

// Whether each row is as it was written, and the index has the rows that the
// table has; kDataLoss names what isn't. Reads the whole file, but for what is
// free in it.
[[nodiscard]] absl::Status Verify(sqlite3* db);

// kDataLoss: the log beside the file at `path` breaks off in front of
// transactions that were synced. SQLite would go on without these, as after a
// crash in the middle of a write. REQUIRES: nobody has the file open.
[[nodiscard]] absl::Status VerifyLog(const std::string& path);

[[nodiscard]] absl::Status SetStateRevision(sqlite3* db, Revision revision);

// In a statement's result; none for NULL.
std::optional<std::string_view> ColumnText(const Statement& statement,
                                           int column);
// `text` must live as long as it is bound.
void BindText(const Statement& statement, int index, std::string_view text);

}  // namespace fairlead::store

#endif  // FAIRLEAD_CONTROL_STORE_FORMAT_H_
