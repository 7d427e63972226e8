// SPDX-License-Identifier: Apache-2.0
#include "control/store/sqlite_store.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_map.h"
#include "control/store/backup.h"
#include "control/store/format.h"
#include "control/store/sqlite.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::store {
namespace {

// Transactions that a new process can tell of. A watcher of before goes on
// from any of them.
constexpr Revision kPast = 1000;
// So many more are there before they go, all at once: each time that changes
// other pages than a batch does.
constexpr Revision kMorePast = 250;
// A change with more text than this isn't kept: it, and what was before it, is
// history that is gone.
constexpr size_t kPastBytes = 64 << 10;

std::string TextOf(const Statement& statement, int column) {
  return std::string(ColumnText(statement, column).value_or(""));
}

// The first text behind all that begin with `prefix`; no UTF-8 has a byte 0xff.
std::string EndOfPrefix(std::string_view prefix) {
  std::string end(prefix.empty() ? "\xfe" : prefix);
  ++end.back();
  return end;
}

// The connection and its statements. Used by the opening thread before the
// writer starts, then under the store's database mutex.
class Connection {
 public:
  [[nodiscard]] absl::Status Open(const std::string& path) {
    FL_RETURN_IF_ERROR(VerifyLog(path));
    FL_ASSIGN_OR_RETURN(
        db_, OpenDatabase(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    sqlite3* raw = db_.get();
    // Exclusive: no second controller on one file, and no shared memory.
    FL_RETURN_IF_ERROR(Execute(raw, "PRAGMA locking_mode=EXCLUSIVE"));
    FL_RETURN_IF_ERROR(Execute(raw, "PRAGMA journal_mode=WAL"));
    FL_RETURN_IF_ERROR(Execute(raw, "PRAGMA synchronous=FULL"));
    FL_RETURN_IF_ERROR(Execute(raw, "PRAGMA cache_size=-2048"));
    FL_RETURN_IF_ERROR(OpenFormat(raw));
    FL_RETURN_IF_ERROR(Verify(raw));
    return PrepareAll();
  }

  absl::StatusOr<Revision> ReadRevision() {
    return QueryInteger(db_.get(), "SELECT revision FROM state");
  }

  absl::StatusOr<Entry> Get(std::string_view key) {
    absl::Cleanup reset = [this] { sqlite3_reset(get_.get()); };
    BindText(get_, 1, key);
    int code = sqlite3_step(get_.get());
    if (code == SQLITE_DONE) return absl::NotFoundError(Absl(key));
    FL_RETURN_IF_ERROR(SqliteStatus(db_.get(), code, "read"));
    return Entry{std::string(key), TextOf(get_, 1),
                 sqlite3_column_int64(get_.get(), 0)};
  }

  absl::Status Range(std::string_view prefix,
                     const std::function<void(Entry)>& fn) {
    // Both bounds, so that no row of another prefix is read.
    FL_ASSIGN_OR_RETURN(
        Statement range,
        Prepare(db_.get(), "SELECT key, revision, value FROM object "
                           "WHERE key >= ?1 AND key < ?2 ORDER BY key"));
    const std::string end = EndOfPrefix(prefix);
    BindText(range, 1, prefix);
    BindText(range, 2, end);
    int code;
    while ((code = sqlite3_step(range.get())) == SQLITE_ROW) {
      fn(Entry{TextOf(range, 0), TextOf(range, 2),
               sqlite3_column_int64(range.get(), 1)});
    }
    return SqliteStatus(db_.get(), code, "read");
  }

  absl::StatusOr<std::vector<PastChange>> Past(Revision newest) {
    FL_ASSIGN_OR_RETURN(
        Statement rows,
        Prepare(db_.get(),
                "SELECT revision, key, value, before_revision, before "
                "FROM past ORDER BY revision DESC, key DESC"));
    std::vector<PastChange> past;
    // By key, of the rows so far: what the next change found.
    absl::flat_hash_map<std::string, std::optional<Entry>> found;
    int code;
    while ((code = sqlite3_step(rows.get())) == SQLITE_ROW) {
      PastChange change{.key = TextOf(rows, 1),
                        .revision = sqlite3_column_int64(rows.get(), 0)};
      if (change.revision <= newest - kPast) break;
      // Before a revision that isn't here there is nothing to tell.
      if (change.revision < (past.empty() ? newest
                                          : past.back().revision - 1)) {
        break;
      }
      if (sqlite3_column_type(rows.get(), 2) != SQLITE_NULL) {
        change.value = TextOf(rows, 2);
      }
      if (sqlite3_column_type(rows.get(), 4) != SQLITE_NULL) {
        change.before = Entry{change.key, TextOf(rows, 4),
                              sqlite3_column_int64(rows.get(), 3)};
      }
      auto [after, last] = found.try_emplace(change.key);
      if (last) {
        FL_ASSIGN_OR_RETURN(after->second, FindNow(change.key));
      }
      FL_RETURN_IF_ERROR(SetValue(after->second, &change));
      after->second = change.before;
      past.push_back(std::move(change));
    }
    if (code != SQLITE_ROW) {
      FL_RETURN_IF_ERROR(SqliteStatus(db_.get(), code, "read"));
    }
    std::reverse(past.begin(), past.end());
    return past;
  }

  absl::Status Begin() { return Run(begin_, "begin"); }
  absl::Status Commit() { return Run(commit_, "commit"); }
  void Rollback() {
    if (!sqlite3_get_autocommit(db_.get())) {
      sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
  }

  // kAborted: an expectation does not hold; nothing was changed.
  absl::Status Apply(const std::vector<Write>& writes, Revision revision) {
    rows_.clear();
    for (const Write& write : writes) {
      FL_ASSIGN_OR_RETURN(Row row, FindRow(write.key));
      if (row.revision != write.expected) {
        return absl::AbortedError(StrCat(write.key, ": revision is ",
                                         row.revision, ", expected ",
                                         write.expected));
      }
      rows_.push_back(row);
    }
    FL_RETURN_IF_ERROR(Remember(writes, revision));
    for (size_t i = 0; i < writes.size(); ++i) {
      FL_RETURN_IF_ERROR(Put(writes[i], rows_[i], revision));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Copy>> StartCopy(const std::string& path) {
    return Copy::Start(db_.get(), path);
  }

  // Changes pages, so that the transaction under way has something to write:
  // what is set to what it was is not written.
  absl::Status Touch() {
    return Execute(db_.get(),
                   "INSERT INTO past(revision, key, checksum) VALUES(0, '', 0);"
                   "DELETE FROM past WHERE revision=0");
  }

  // And forgets what is too old.
  absl::Status SetRevision(Revision revision) {
    if (revision - forgotten_ >= kPast + kMorePast) {
      sqlite3_bind_int64(forget_.get(), 1, revision - kPast);
      FL_RETURN_IF_ERROR(Run(forget_, "write"));
      forgotten_ = revision - kPast;
    }
    sqlite3_bind_int64(state_.get(), 1, revision);
    sqlite3_bind_int64(state_.get(), 2, Checksum("", revision, std::nullopt));
    return Run(state_, "write");
  }

 private:
  // Of the table object; revision 0: there is none.
  struct Row {
    int64_t id = 0;
    Revision revision = 0;
  };

  absl::Status Run(const Statement& statement, std::string_view operation) {
    absl::Status status = SqliteStatus(
        db_.get(), sqlite3_step(statement.get()), operation);
    sqlite3_reset(statement.get());
    return status;
  }

  absl::StatusOr<std::optional<Entry>> FindNow(const std::string& key) {
    absl::StatusOr<Entry> entry = Get(key);
    if (absl::IsNotFound(entry.status())) return std::nullopt;
    FL_RETURN_IF_ERROR(entry.status());
    return *std::move(entry);
  }

  // `after`: what the key's next change found, or what is there now.
  static absl::Status SetValue(const std::optional<Entry>& after,
                               PastChange* change) {
    if (change->value.has_value() || !after.has_value()) {
      return absl::OkStatus();
    }
    if (after->revision != change->revision) {
      return absl::DataLossError(
          StrCat("the history of ", change->key, " is damaged"));
    }
    change->value = after->value;
    return absl::OkStatus();
  }
  absl::Status PrepareAll() {
    sqlite3* db = db_.get();
    FL_ASSIGN_OR_RETURN(
        get_, Prepare(db, "SELECT revision, value FROM object WHERE key=?1"));
    FL_ASSIGN_OR_RETURN(
        find_, Prepare(db, "SELECT rowid, revision FROM object WHERE key=?1"));
    FL_ASSIGN_OR_RETURN(
        insert_, Prepare(db, "INSERT INTO object(key, revision, value, "
                             "checksum) VALUES(?1, ?2, ?3, ?4)"));
    FL_ASSIGN_OR_RETURN(
        update_, Prepare(db, "UPDATE object SET revision=?2, value=?3, "
                             "checksum=?4 WHERE rowid=?1"));
    FL_ASSIGN_OR_RETURN(delete_,
                        Prepare(db, "DELETE FROM object WHERE rowid=?1"));
    FL_ASSIGN_OR_RETURN(
        remember_new_, Prepare(db, "INSERT INTO past(revision, key, checksum) "
                                   "VALUES(?1, ?2, ?3)"));
    FL_ASSIGN_OR_RETURN(
        remember_,
        Prepare(db, "INSERT INTO past SELECT ?1, ?2, NULL, ?3, revision, "
                    "value, checksum FROM object "
                    "WHERE rowid=?4 AND length(value) <= ?5"));
    FL_ASSIGN_OR_RETURN(begin_, Prepare(db, "BEGIN IMMEDIATE"));
    FL_ASSIGN_OR_RETURN(commit_, Prepare(db, "COMMIT"));
    FL_ASSIGN_OR_RETURN(
        state_, Prepare(db, "UPDATE state SET revision=?1, checksum=?2"));
    FL_ASSIGN_OR_RETURN(forget_,
                        Prepare(db, "DELETE FROM past WHERE revision<=?1"));
    return absl::OkStatus();
  }

  absl::Status Put(const Write& write, const Row& row, Revision revision) {
    const bool there = row.revision != 0;
    if (!write.value.has_value()) {
      if (!there) return absl::OkStatus();
      sqlite3_bind_int64(delete_.get(), 1, row.id);
      return Run(delete_, "write");
    }
    const Statement& statement = there ? update_ : insert_;
    if (there) {
      sqlite3_bind_int64(statement.get(), 1, row.id);
    } else {
      BindText(statement, 1, write.key);
    }
    sqlite3_bind_int64(statement.get(), 2, revision);
    BindText(statement, 3, *write.value);
    sqlite3_bind_int64(statement.get(), 4,
                       Checksum(write.key, revision, write.value));
    return Run(statement, "write");
  }

  // What the writes, to rows_, are about to replace.
  absl::Status Remember(const std::vector<Write>& writes, Revision revision) {
    size_t bytes = 0;
    for (const Write& write : writes) {
      bytes += write.value.has_value() ? write.value->size() : 0;
    }
    bool whole = bytes <= kPastBytes;
    for (size_t i = 0; i < writes.size() && whole; ++i) {
      const bool there = rows_[i].revision != 0;
      const Statement& statement = there ? remember_ : remember_new_;
      sqlite3_bind_int64(statement.get(), 1, revision);
      BindText(statement, 2, writes[i].key);
      sqlite3_bind_int64(statement.get(), 3,
                         Checksum(writes[i].key, revision, std::nullopt));
      if (there) {
        sqlite3_bind_int64(statement.get(), 4, rows_[i].id);
        sqlite3_bind_int64(statement.get(), 5, kPastBytes);
      }
      FL_RETURN_IF_ERROR(Run(statement, "write"));
      whole = sqlite3_changes(db_.get()) == 1;
    }
    if (whole) return absl::OkStatus();
    return Execute(
        db_.get(),
        StrCat("DELETE FROM past WHERE revision=", revision).c_str());
  }

  absl::StatusOr<Row> FindRow(const std::string& key) {
    absl::Cleanup reset = [this] { sqlite3_reset(find_.get()); };
    BindText(find_, 1, key);
    int code = sqlite3_step(find_.get());
    if (code == SQLITE_DONE) return Row();
    FL_RETURN_IF_ERROR(SqliteStatus(db_.get(), code, "read"));
    return Row{sqlite3_column_int64(find_.get(), 0),
               sqlite3_column_int64(find_.get(), 1)};
  }

  Database db_;
  // After db_: finalized before it closes.
  Statement get_, find_, insert_, update_, delete_, remember_new_, remember_,
      forget_, begin_, commit_, state_;
  // What goes up to here goes with the next if this was rolled back.
  Revision forgotten_ = 0;
  std::vector<Row> rows_;  // of the transaction that is being applied
};

struct BackupRequest {
  std::string path;
  std::function<void(absl::Status)> done;
};

struct Transaction {
  std::vector<Write> writes;
  Store::Done done;
  absl::StatusOr<Revision> result = absl::UnknownError("not committed");
};

class SqliteStore : public Store {
 public:
  explicit SqliteStore(EventLoop* loop) : loop_(loop) {}

  ~SqliteStore() override {
    {
      std::lock_guard lock(queue_mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    if (writer_.joinable()) writer_.join();
  }

  absl::Status Open(const std::string& path) {
    FL_RETURN_IF_ERROR(connection_.Open(path));
    FL_ASSIGN_OR_RETURN(written_, connection_.ReadRevision());
    delivered_ = written_;
    writer_ = std::thread([this] { WriteUntilClosed(); });
    return absl::OkStatus();
  }

  Revision revision() const override { return delivered_; }

  absl::StatusOr<Entry> Get(std::string_view key) override {
    loop_->DCheckInLoop();
    std::lock_guard lock(database_mutex_);
    return connection_.Get(key);
  }

  absl::Status Range(std::string_view prefix,
                     const std::function<void(Entry)>& fn) override {
    loop_->DCheckInLoop();
    std::lock_guard lock(database_mutex_);
    return connection_.Range(prefix, fn);
  }

  absl::StatusOr<std::vector<PastChange>> Past() override {
    loop_->DCheckInLoop();
    std::lock_guard lock(database_mutex_);
    return connection_.Past(delivered_);
  }

  void Commit(std::vector<Write> writes, Done done) override {
    loop_->DCheckInLoop();
    {
      std::lock_guard lock(queue_mutex_);
      queue_.push_back({std::move(writes), std::move(done)});
    }
    wake_.notify_one();
  }

  void Backup(std::string path,
              std::function<void(absl::Status)> done) override {
    loop_->DCheckInLoop();
    {
      std::lock_guard lock(queue_mutex_);
      backups_.push_back({std::move(path), std::move(done)});
    }
    wake_.notify_one();
  }

  void Observe(std::function<void(const Change&)> observer) override {
    loop_->DCheckInLoop();
    observer_ = std::move(observer);
  }

 private:
  void WriteUntilClosed() {
    while (true) {
      std::vector<Transaction> batch;
      {
        std::unique_lock lock(queue_mutex_);
        wake_.wait(lock, [this] {
          return closing_ || !queue_.empty() || !backups_.empty();
        });
        if (closing_ && queue_.empty()) return;
        batch.swap(queue_);
      }
      if (!batch.empty()) WriteAndDeliver(std::move(batch));
      ContinueBackup();
    }
  }

  void WriteAndDeliver(std::vector<Transaction> batch) {
    {
      std::lock_guard lock(database_mutex_);
      WriteBatch(batch);
    }
    loop_->Post([this, alive = std::weak_ptr<bool>(alive_),
                 batch = std::move(batch)]() mutable {
      if (!alive.expired()) Deliver(batch);
    });
  }

  // A piece of the oldest backup that is asked for: writers wait for no more.
  void ContinueBackup() {
    std::string path;
    {
      std::lock_guard lock(queue_mutex_);
      if (backups_.empty()) return;
      path = backups_.front().path;
    }
    absl::StatusOr<bool> finished = CopyPiece(path);
    if (finished.ok() && !*finished) return;
    copy_.reset();
    std::function<void(absl::Status)> done;
    {
      std::lock_guard lock(queue_mutex_);
      done = std::move(backups_.front().done);
      backups_.pop_front();
    }
    loop_->Post([alive = std::weak_ptr<bool>(alive_), done = std::move(done),
                 status = WithContext(finished.status(),
                                      StrCat("backup ", path))] {
      if (!alive.expired()) done(status);
    });
  }

  absl::StatusOr<bool> CopyPiece(const std::string& path) {
    std::lock_guard lock(database_mutex_);
    if (copy_ == nullptr) {
      FL_ASSIGN_OR_RETURN(copy_, connection_.StartCopy(path));
    }
    return copy_->Step();
  }

  // One SQLite transaction for the whole batch. A transaction of ours whose
  // expectations fail drops out by itself; a failed write fails all.
  void WriteBatch(std::vector<Transaction>& batch) {
    Revision revision = written_;
    bool probed = false;
    absl::Status status = connection_.Begin();
    for (Transaction& transaction : batch) {
      if (!status.ok()) break;
      if (transaction.writes.empty()) {
        probed = true;
        transaction.result = revision;
        continue;
      }
      absl::Status applied =
          connection_.Apply(transaction.writes, revision + 1);
      if (applied.ok()) {
        transaction.result = ++revision;
      } else if (absl::IsAborted(applied)) {
        transaction.result = applied;
      } else {
        status = applied;
      }
    }
    if (status.ok() && probed) status = connection_.Touch();
    if (status.ok() && revision != written_) {
      status = connection_.SetRevision(revision);
    }
    if (status.ok()) status = connection_.Commit();
    if (status.ok()) {
      written_ = revision;
      return;
    }
    connection_.Rollback();
    for (Transaction& transaction : batch) transaction.result = status;
  }

  void Deliver(std::vector<Transaction>& batch) {
    for (Transaction& transaction : batch) {
      if (transaction.result.ok()) {
        delivered_ = *transaction.result;
        for (Write& write : transaction.writes) {
          if (!observer_) break;
          observer_({write.key, write.value ? &*write.value : nullptr,
                     delivered_, std::move(write.attachment)});
        }
      }
      if (transaction.done) transaction.done(std::move(transaction.result));
    }
  }

  EventLoop* loop_;
  std::function<void(const Change&)> observer_;
  Revision delivered_ = 0;
  // Tells a posted delivery that the store is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  std::mutex database_mutex_;
  Connection connection_;
  Revision written_ = 0;
  std::unique_ptr<Copy> copy_;  // the writer's; after connection_

  std::mutex queue_mutex_;
  std::condition_variable wake_;
  std::vector<Transaction> queue_;
  std::deque<BackupRequest> backups_;
  bool closing_ = false;
  std::thread writer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(
    EventLoop* loop, const std::string& path) {
  auto store = std::make_unique<SqliteStore>(loop);
  FL_RETURN_IF_ERROR(
      WithContext(store->Open(path), StrCat("store ", path)));
  return store;
}

}  // namespace fairlead::store
