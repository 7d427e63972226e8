// SPDX-License-Identifier: Apache-2.0
#include "control/store/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "control/store/format.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::store {
namespace {

namespace fs = std::filesystem;

// Of 4 KiB: a quarter of a millisecond, for which writers and readers wait.
constexpr int kPagesPerStep = 64;

// A rename is on disk when its folder is.
absl::Status Rename(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return ErrnoStatus(error.value(), "rename", from);
  fs::path folder = fs::path(to).parent_path();
  UniqueFd fd(open(folder.empty() ? "." : folder.c_str(),
                   O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) {
    return ErrnoStatus(errno, "sync folder of", to);
  }
  return absl::OkStatus();
}

// With what SQLite keeps beside it.
absl::Status MoveDatabase(const std::string& from, const std::string& to) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    std::error_code ignored;
    fs::remove(to + suffix, ignored);
    if (fs::exists(from + suffix, ignored)) {
      FL_RETURN_IF_ERROR(Rename(from + suffix, to + suffix));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Database> OpenBackup(const std::string& path) {
  FL_ASSIGN_OR_RETURN(Database db, OpenDatabase(path, SQLITE_OPEN_READONLY));
  FL_RETURN_IF_ERROR(CheckIsStore(db.get()));
  FL_ASSIGN_OR_RETURN(Statement check,
                      Prepare(db.get(), "PRAGMA integrity_check(1)"));
  int code = sqlite3_step(check.get());
  if (code != SQLITE_ROW) return SqliteStatus(db.get(), code, "check");
  const std::string_view answer = ColumnText(check, 0).value_or("");
  if (answer != "ok") return absl::DataLossError(StrCat("damaged: ", answer));
  return db;
}

// A running controller holds its file exclusively; a damaged one says other
// things, which don't matter here.
absl::Status CheckUnused(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return absl::OkStatus();
  FL_ASSIGN_OR_RETURN(Database db, OpenDatabase(path, SQLITE_OPEN_READWRITE));
  absl::Status status =
      QueryInteger(db.get(), "SELECT count(*) FROM sqlite_schema").status();
  return absl::IsUnavailable(status) ? status : absl::OkStatus();
}

// Also what the backup holds is looked at: one of an earlier format has
// nothing to be looked at before.
absl::StatusOr<Revision> RaiseRevision(const std::string& path) {
  FL_ASSIGN_OR_RETURN(Database db, OpenDatabase(path, SQLITE_OPEN_READWRITE));
  FL_RETURN_IF_ERROR(Execute(db.get(), "PRAGMA synchronous=FULL"));
  FL_RETURN_IF_ERROR(OpenFormat(db.get()));
  FL_RETURN_IF_ERROR(Verify(db.get()));
  FL_ASSIGN_OR_RETURN(Revision revision,
                      QueryInteger(db.get(), "SELECT revision FROM state"));
  FL_RETURN_IF_ERROR(SetStateRevision(db.get(), revision + kRestoreGap));
  // Changes from before lead up to another revision.
  FL_RETURN_IF_ERROR(Execute(db.get(), "DROP TABLE IF EXISTS past"));
  FL_RETURN_IF_ERROR(
      Execute(db.get(), "PRAGMA wal_checkpoint(TRUNCATE)"));
  return QueryInteger(db.get(), "SELECT revision FROM state");
}

absl::Status CopyWhole(sqlite3* from, const std::string& path) {
  FL_ASSIGN_OR_RETURN(std::unique_ptr<Copy> copy, Copy::Start(from, path));
  while (true) {
    FL_ASSIGN_OR_RETURN(bool finished, copy->Step());
    if (finished) return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Copy>> Copy::Start(sqlite3* from,
                                                  const std::string& path) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) {
    return absl::AlreadyExistsError(StrCat(path, " is there already"));
  }
  fs::remove(path + ".part", ignored);  // of a copy that was cut off
  FL_ASSIGN_OR_RETURN(
      Database to, OpenDatabase(path + ".part",
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
  auto copy = std::unique_ptr<Copy>(new Copy(path, std::move(to)));
  copy->backup_ = sqlite3_backup_init(copy->to_.get(), "main", from, "main");
  if (copy->backup_ == nullptr) {
    return SqliteStatus(copy->to_.get(), sqlite3_errcode(copy->to_.get()),
                        "copy");
  }
  return copy;
}

Copy::~Copy() {
  if (backup_ == nullptr) return;
  sqlite3_backup_finish(backup_);
  to_.reset();
  std::error_code ignored;
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    fs::remove(part() + suffix, ignored);
  }
}

absl::StatusOr<bool> Copy::Step() {
  int code = sqlite3_backup_step(backup_, kPagesPerStep);
  if (code == SQLITE_OK) return false;
  if (code != SQLITE_DONE) return SqliteStatus(nullptr, code, "copy");
  code = sqlite3_backup_finish(std::exchange(backup_, nullptr));
  FL_RETURN_IF_ERROR(SqliteStatus(to_.get(), code, "copy"));
  to_.reset();
  FL_RETURN_IF_ERROR(MoveDatabase(part(), path_));
  return true;
}

absl::StatusOr<Revision> RestoreSqliteStore(const std::string& backup,
                                            const std::string& path) {
  auto context = [](const absl::Status& status, const std::string& file) {
    return WithContext(status, file);
  };
  auto from = OpenBackup(backup);
  if (!from.ok()) return context(from.status(), backup);
  FL_RETURN_IF_ERROR(context(CheckUnused(path), path));
  const std::string fresh = path + ".restored";
  std::error_code ignored;
  fs::remove(fresh, ignored);
  FL_RETURN_IF_ERROR(context(CopyWhole(from->get(), fresh), fresh));
  auto revision = RaiseRevision(fresh);
  if (!revision.ok()) return context(revision.status(), fresh);
  if (fs::exists(path, ignored)) {
    FL_RETURN_IF_ERROR(MoveDatabase(path, path + ".replaced"));
  }
  FL_RETURN_IF_ERROR(MoveDatabase(fresh, path));
  return revision;
}

}  // namespace fairlead::store
