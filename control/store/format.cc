// SPDX-License-Identifier: Apache-2.0
#include "control/store/format.h"

#include <zlib.h>

#include <initializer_list>
#include <string>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::store {
namespace {

constexpr char kMakeObject[] =
    "CREATE TABLE object(key TEXT PRIMARY KEY, revision INTEGER NOT NULL, "
    "value TEXT NOT NULL, checksum INTEGER NOT NULL)";
constexpr char kMakeState[] =
    "CREATE TABLE state(revision INTEGER NOT NULL, checksum INTEGER NOT NULL)";
// Key order within a transaction: the writes of one don't share a key.
constexpr char kMakePast[] =
    "CREATE TABLE IF NOT EXISTS past(revision INTEGER NOT NULL, "
    "key TEXT NOT NULL, value TEXT, checksum INTEGER NOT NULL, "
    "before_revision INTEGER, before TEXT, before_checksum INTEGER, "
    "PRIMARY KEY(revision, key)) WITHOUT ROWID";

absl::Status Damaged(std::string_view what) {
  return absl::DataLossError(StrCat(what, " is damaged"));
}

// Inside a transaction.
absl::Status MakeTables(sqlite3* db) {
  FL_RETURN_IF_ERROR(Execute(db, kMakeObject));
  FL_RETURN_IF_ERROR(Execute(db, kMakeState));
  return Execute(db, StrCat("PRAGMA application_id=", kApplicationId,
                            ";PRAGMA user_version=", kFormat)
                         .c_str());
}

absl::Status MakeStore(sqlite3* db) {
  FL_RETURN_IF_ERROR(MakeTables(db));
  // 1, because resourceVersion 0 means "any".
  return Execute(db, StrCat("INSERT INTO state VALUES(1, ",
                            Checksum("", 1, std::nullopt), ")")
                         .c_str());
}

// Format 1 had no checksums. Its history ends here: watchers list anew.
absl::Status AddChecksums(sqlite3* db) {
  FL_RETURN_IF_ERROR(Execute(db,
                             "ALTER TABLE object RENAME TO old_object;"
                             "ALTER TABLE state RENAME TO old_state;"
                             "DROP TABLE IF EXISTS past"));
  FL_RETURN_IF_ERROR(MakeTables(db));
  {
    FL_ASSIGN_OR_RETURN(
        Statement from,
        Prepare(db, "SELECT key, revision, value FROM old_object"));
    FL_ASSIGN_OR_RETURN(
        Statement to, Prepare(db, "INSERT INTO object VALUES(?1,?2,?3,?4)"));
    int code;
    while ((code = sqlite3_step(from.get())) == SQLITE_ROW) {
      const std::string_view key = ColumnText(from, 0).value_or("");
      const std::string_view value = ColumnText(from, 2).value_or("");
      const Revision revision = sqlite3_column_int64(from.get(), 1);
      BindText(to, 1, key);
      sqlite3_bind_int64(to.get(), 2, revision);
      BindText(to, 3, value);
      sqlite3_bind_int64(to.get(), 4, Checksum(key, revision, value));
      FL_RETURN_IF_ERROR(SqliteStatus(db, sqlite3_step(to.get()), "write"));
      sqlite3_reset(to.get());
    }
    FL_RETURN_IF_ERROR(SqliteStatus(db, code, "read"));
  }
  FL_ASSIGN_OR_RETURN(Revision revision,
                      QueryInteger(db, "SELECT revision FROM old_state"));
  return Execute(db, StrCat("INSERT INTO state VALUES(", revision, ", ",
                            Checksum("", revision, std::nullopt),
                            ");DROP TABLE old_object;DROP TABLE old_state")
                         .c_str());
}

absl::Status InTransaction(sqlite3* db, absl::Status (*fn)(sqlite3*)) {
  FL_RETURN_IF_ERROR(Execute(db, "BEGIN IMMEDIATE"));
  absl::Status status = fn(db);
  if (status.ok()) status = Execute(db, "COMMIT");
  if (!sqlite3_get_autocommit(db)) {
    sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  return status;
}

// What a row of the table and one of its index have in common.
uint64_t Link(std::string_view key, int64_t row) {
  // Spread, so that two that are changed don't make up for one another.
  return (static_cast<uint64_t>(Checksum(key, row, std::nullopt)) + 1) *
         0x9e3779b97f4a7c15;
}

// A changed type hides a row from who asks by key: a text equals no blob. To be
// asked before a column is read, which converts it.
bool HasTypes(const Statement& row, std::initializer_list<int> types) {
  int column = 0;
  for (int type : types) {
    if (sqlite3_column_type(row.get(), column++) != type) return false;
  }
  return true;
}

absl::Status VerifyObjects(sqlite3* db, Revision newest) {
  // NOT INDEXED: the table's own keys, as they lie in the file.
  FL_ASSIGN_OR_RETURN(Statement rows,
                      Prepare(db,
                              "SELECT key, revision, value, checksum, rowid "
                              "FROM object NOT INDEXED"));
  uint64_t links = 0;
  int code;
  while ((code = sqlite3_step(rows.get())) == SQLITE_ROW) {
    const bool typed =
        HasTypes(rows, {SQLITE_TEXT, SQLITE_INTEGER, SQLITE_TEXT,
                        SQLITE_INTEGER, SQLITE_INTEGER});
    const std::string_view key = ColumnText(rows, 0).value_or("");
    const Revision revision = sqlite3_column_int64(rows.get(), 1);
    if (!typed ||
        Checksum(key, revision, ColumnText(rows, 2)) !=
            sqlite3_column_int64(rows.get(), 3) ||
        revision > newest) {
      return Damaged(StrCat("the stored object ", key));
    }
    links += Link(key, sqlite3_column_int64(rows.get(), 4));
  }
  FL_RETURN_IF_ERROR(SqliteStatus(db, code, "read"));
  FL_ASSIGN_OR_RETURN(
      Statement keys,
      Prepare(db, "SELECT key, rowid FROM object ORDER BY key"));
  std::string last;
  while ((code = sqlite3_step(keys.get())) == SQLITE_ROW) {
    const bool typed = HasTypes(keys, {SQLITE_TEXT, SQLITE_INTEGER});
    const std::string_view key = ColumnText(keys, 0).value_or("");
    if (!typed || key <= last) {
      return Damaged("the index of the stored objects");
    }
    last = key;
    links -= Link(key, sqlite3_column_int64(keys.get(), 1));
  }
  FL_RETURN_IF_ERROR(SqliteStatus(db, code, "read"));
  return links == 0 ? absl::OkStatus()
                    : Damaged("the index of the stored objects");
}

absl::Status VerifyPast(sqlite3* db) {
  FL_ASSIGN_OR_RETURN(
      Statement rows,
      Prepare(db, "SELECT key, revision, value, checksum, before_revision, "
                  "before, before_checksum FROM past"));
  int code;
  while ((code = sqlite3_step(rows.get())) == SQLITE_ROW) {
    const std::string_view key = ColumnText(rows, 0).value_or("");
    auto holds = [&](int revision, int value, int checksum) {
      return Checksum(key, sqlite3_column_int64(rows.get(), revision),
                      ColumnText(rows, value)) ==
             sqlite3_column_int64(rows.get(), checksum);
    };
    const bool created = sqlite3_column_type(rows.get(), 6) == SQLITE_NULL;
    if (!holds(1, 2, 3) || (!created && !holds(4, 5, 6))) {
      return Damaged(StrCat("the history of ", key));
    }
  }
  return SqliteStatus(db, code, "read");
}

}  // namespace

int64_t Checksum(std::string_view key, Revision revision,
                 std::optional<std::string_view> value) {
  auto add = [](uLong sum, const void* data, size_t size) {
    return crc32_z(sum, static_cast<const Bytef*>(data), size);
  };
  // A text's length tells where it ends.
  const uint64_t numbers[] = {static_cast<uint64_t>(revision), key.size(),
                              value.has_value() ? value->size() + 1 : 0};
  uLong sum = add(0, numbers, sizeof numbers);
  sum = add(sum, key.data(), key.size());
  if (value.has_value()) sum = add(sum, value->data(), value->size());
  return static_cast<int64_t>(sum);
}

absl::Status OpenFormat(sqlite3* db) {
  FL_ASSIGN_OR_RETURN(
      int64_t tables, QueryInteger(db, "SELECT count(*) FROM sqlite_schema"));
  FL_ASSIGN_OR_RETURN(int64_t id, QueryInteger(db, "PRAGMA application_id"));
  if (id == 0 && tables == 0) {
    FL_RETURN_IF_ERROR(InTransaction(db, MakeStore));
  }
  FL_RETURN_IF_ERROR(CheckIsStore(db));
  FL_ASSIGN_OR_RETURN(int64_t format, QueryInteger(db, "PRAGMA user_version"));
  if (format == 1) FL_RETURN_IF_ERROR(InTransaction(db, AddChecksums));
  // What rows of format 2 have more is read, too.
  if (format == 2) {
    FL_RETURN_IF_ERROR(
        Execute(db, StrCat("PRAGMA user_version=", kFormat).c_str()));
  }
  return Execute(db, kMakePast);
}

absl::Status Verify(sqlite3* db) {
  auto revision = QueryInteger(db, "SELECT revision FROM state");
  auto checksum = QueryInteger(db, "SELECT checksum FROM state");
  if (absl::IsNotFound(revision.status())) {
    return Damaged("the store's revision");
  }
  FL_RETURN_IF_ERROR(revision.status());
  FL_RETURN_IF_ERROR(checksum.status());
  if (*checksum != Checksum("", *revision, std::nullopt)) {
    return Damaged("the store's revision");
  }
  FL_RETURN_IF_ERROR(VerifyObjects(db, *revision));
  return VerifyPast(db);
}

absl::Status SetStateRevision(sqlite3* db, Revision revision) {
  return Execute(db, StrCat("UPDATE state SET revision=", revision,
                            ", checksum=",
                            Checksum("", revision, std::nullopt))
                         .c_str());
}

std::optional<std::string_view> ColumnText(const Statement& statement,
                                           int column) {
  const auto* text = reinterpret_cast<const char*>(
      sqlite3_column_text(statement.get(), column));
  if (text == nullptr) return std::nullopt;
  return std::string_view(text, sqlite3_column_bytes(statement.get(), column));
}

void BindText(const Statement& statement, int index, std::string_view text) {
  sqlite3_bind_text64(statement.get(), index, text.data(), text.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
}

}  // namespace fairlead::store
