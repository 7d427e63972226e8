// SPDX-License-Identifier: Apache-2.0
#include "control/store/sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::store {
namespace {

// What SQLite makes beside the file has the file's permissions.
absl::Status ForOwnerOnly(const std::string& path, bool create) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0),
                   0600));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  if (fchmod(fd.get(), 0600) != 0) return ErrnoStatus(errno, "chmod", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status SqliteStatus(sqlite3* db, int code, std::string_view operation) {
  if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) {
    return absl::OkStatus();
  }
  std::string message =
      StrCat(operation, ": ", db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(
          StrCat(message, " (is another process using it?)"));
    // The statements are constants: these aren't the tables they are for.
    case SQLITE_ERROR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status Execute(sqlite3* db, const char* sql) {
  return SqliteStatus(db, sqlite3_exec(db, sql, nullptr, nullptr, nullptr),
                      sql);
}

absl::StatusOr<Statement> Prepare(sqlite3* db, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  int code = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw,
                                nullptr);
  Statement statement(raw);
  FL_RETURN_IF_ERROR(SqliteStatus(db, code, sql));
  return statement;
}

absl::StatusOr<int64_t> QueryInteger(sqlite3* db, const char* sql) {
  FL_ASSIGN_OR_RETURN(Statement statement, Prepare(db, sql));
  int code = sqlite3_step(statement.get());
  if (code == SQLITE_ROW) return sqlite3_column_int64(statement.get(), 0);
  FL_RETURN_IF_ERROR(SqliteStatus(db, code, sql));
  return absl::NotFoundError(sql);
}

absl::StatusOr<Database> OpenDatabase(const std::string& path, int flags) {
  if ((flags & SQLITE_OPEN_READONLY) == 0) {
    FL_RETURN_IF_ERROR(ForOwnerOnly(path, flags & SQLITE_OPEN_CREATE));
  }
  sqlite3* raw = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &raw,
                             flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Database db(raw);
  FL_RETURN_IF_ERROR(SqliteStatus(raw, code, "open"));
  sqlite3_extended_result_codes(raw, 1);
  return db;
}

absl::Status CheckIsStore(sqlite3* db) {
  FL_ASSIGN_OR_RETURN(int64_t id, QueryInteger(db, "PRAGMA application_id"));
  FL_ASSIGN_OR_RETURN(int64_t format, QueryInteger(db, "PRAGMA user_version"));
  if (id != kApplicationId) {
    return absl::DataLossError("this SQLite file is not a Fairlead store");
  }
  if (format < kOldestFormat || format > kFormat) {
    return absl::FailedPreconditionError(
        StrCat("the file has format ", format, ", this program reads ",
               kOldestFormat, " to ", kFormat));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::store
