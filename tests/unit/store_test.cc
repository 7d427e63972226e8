// SPDX-License-Identifier: Apache-2.0
#include "control/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "control/store/backup.h"
#include "control/store/format.h"
#include "control/store/sqlite.h"
#include "control/store/sqlite_store.h"
#include "control/store/watch_cache.h"
#include "userspace/base/event_loop.h"

namespace fairlead::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "fl-store-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/db";
  }
  ~StoreTest() override {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void Open() {
    store_.reset();
    auto store = OpenSqliteStore(&loop_, path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  absl::StatusOr<Revision> Commit(std::vector<Write> writes) {
    absl::StatusOr<Revision> result = absl::DeadlineExceededError("no answer");
    store_->Commit(std::move(writes), [&](absl::StatusOr<Revision> revision) {
      result = std::move(revision);
      loop_.Stop();
    });
    Timer deadline = loop_.After(absl::Seconds(10), [&] { loop_.Stop(); });
    loop_.Run();
    return result;
  }
  absl::StatusOr<Revision> Put(std::string key, Revision expected,
                               std::string value) {
    return Commit({{std::move(key), expected, std::move(value), nullptr}});
  }

  std::string folder_, path_;
  EventLoop loop_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, AnAcknowledgedWriteIsThereAfterReopening) {
  Open();
  absl::StatusOr<Revision> created = Put("a/1", 0, "one");
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(Put("a/2", 0, "two").ok());
  ASSERT_TRUE(Put("b/1", 0, "other").ok());
  absl::StatusOr<Revision> changed = Put("a/1", *created, "uno");
  ASSERT_TRUE(changed.ok());
  Open();
  EXPECT_EQ(store_->revision(), *changed);
  absl::StatusOr<Entry> entry = store_->Get("a/1");
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->value, "uno");
  EXPECT_EQ(entry->revision, *changed);
  std::vector<std::string> keys;
  ASSERT_TRUE(
      store_->Range("a/", [&](Entry e) { keys.push_back(e.key); }).ok());
  EXPECT_THAT(keys, ElementsAre("a/1", "a/2"));
}

TEST_F(StoreTest, ExpectationsThatDoNotHoldChangeNothing) {
  Open();
  absl::StatusOr<Revision> first = Put("k", 0, "v");
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(absl::IsAborted(Put("k", 0, "again").status()));
  EXPECT_TRUE(absl::IsAborted(Put("k", *first + 7, "later").status()));
  // All or none: the good half must not be written either.
  EXPECT_TRUE(absl::IsAborted(
      Commit({{"new", 0, "v", nullptr}, {"k", 0, "bad", nullptr}}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Get("new").status()));
  EXPECT_EQ(store_->Get("k")->value, "v");
  EXPECT_EQ(store_->revision(), *first);
}

TEST_F(StoreTest, TheFeedHasEveryChangeInOrderBeforeItsAcknowledgement) {
  Open();
  std::vector<std::string> seen;
  store_->Observe([&](const Change& change) {
    seen.push_back(std::string(change.key) +
                   (change.value == nullptr ? " deleted" : " " + *change.value));
  });
  int acknowledged = 0;
  for (int i = 0; i < 20; ++i) {
    store_->Commit({{"k" + std::to_string(i), 0, "v", nullptr}},
                   [&](const absl::StatusOr<Revision>& revision) {
                     EXPECT_TRUE(revision.ok());
                     EXPECT_EQ(seen.size(), ++acknowledged);
                     if (acknowledged == 20) loop_.Stop();
                   });
  }
  loop_.Run();
  EXPECT_EQ(seen[7], "k7 v");
  absl::StatusOr<Entry> entry = store_->Get("k3");
  ASSERT_TRUE(entry.ok());
  ASSERT_TRUE(Commit({{"k3", entry->revision, std::nullopt, nullptr}}).ok());
  EXPECT_EQ(seen.back(), "k3 deleted");
}

TEST_F(StoreTest, ASecondProcessIsRefused) {
  Open();
  ASSERT_TRUE(Put("k", 0, "v").ok());
  auto second = OpenSqliteStore(&loop_, path_);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(path_));
}

TEST_F(StoreTest, OtherFilesAreRefused) {
  std::ofstream(path_) << std::string(8192, 'x');
  auto garbage = OpenSqliteStore(&loop_, path_);
  EXPECT_TRUE(absl::IsDataLoss(garbage.status())) << garbage.status();
  EXPECT_THAT(std::string(garbage.status().message()), HasSubstr(path_));
  auto missing = OpenSqliteStore(&loop_, folder_ + "/no/such/folder/db");
  EXPECT_FALSE(missing.ok());
}

TEST_F(StoreTest, DamagedPagesAreReported) {
  Open();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(Put("k" + std::to_string(i), 0, std::string(2000, 'v')).ok());
  }
  store_.reset();
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8192);
    for (int i = 0; i < 40; ++i) file << std::string(4096, '\x5a');
  }
  auto damaged = OpenSqliteStore(&loop_, path_);
  absl::Status status = damaged.status();
  if (damaged.ok()) status = (*damaged)->Range("", [](Entry) {});
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

std::string FileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Every byte of what is stored, one after the other: none is served changed.
TEST_F(StoreTest, AFlippedByteIsFound) {
  Open();
  const Revision first = *Put("pods/a/one", 0, R"({"metadata":{"x":"1234"}})");
  ASSERT_TRUE(Put("pods/a/one", first, R"({"metadata":{"x":"5678"}})").ok());
  ASSERT_TRUE(Put("pods/a/two", 0, R"({"metadata":{}})").ok());
  store_.reset();
  const std::string whole = FileText(path_);
  int refused = 0, unchanged = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    // What SQLite doesn't use, and what it alone understands.
    if (whole[at] == 0 || at < 4096 || at % 4096 < 12) continue;
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    std::ofstream(path_, std::ios::binary) << damaged;
    auto store = OpenSqliteStore(&loop_, path_);
    if (!store.ok()) {
      ++refused;
      continue;
    }
    ++unchanged;
    auto value = [&](const char* key) {
      absl::StatusOr<Entry> entry = (*store)->Get(key);
      return entry.ok() ? entry->value : entry.status().ToString();
    };
    EXPECT_EQ(value("pods/a/one"), R"({"metadata":{"x":"5678"}})") << at;
    EXPECT_EQ(value("pods/a/two"), R"({"metadata":{}})") << at;
    auto past = (*store)->Past();
    ASSERT_TRUE(past.ok()) << at << past.status();
    EXPECT_EQ(past->size(), 3u) << at;
    store->reset();
    std::filesystem::remove(path_ + "-wal");
  }
  EXPECT_GT(refused, 150);
  EXPECT_LT(unchanged, refused) << "the rest is left over from before";
}

TEST_F(StoreTest, ADamagedLogIsTornOnlyAtItsEnd) {
  Open();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Put("k" + std::to_string(i), 0, "value-of-" +
                    std::to_string(i)).ok());
  }
  // As a kill leaves them.
  const std::string other = folder_ + "/other";
  auto open_copy = [&](const std::string& flipped) {
    std::string log = FileText(path_ + "-wal");
    const size_t at = log.find(flipped);
    EXPECT_NE(at, std::string::npos);
    log[at] = static_cast<char>(log[at] ^ 1);
    std::ofstream(other, std::ios::binary) << FileText(path_);
    std::ofstream(other + "-wal", std::ios::binary) << log;
    return OpenSqliteStore(&loop_, other);
  };
  auto early = open_copy("value-of-3");
  EXPECT_TRUE(absl::IsDataLoss(early.status())) << early.status();
  EXPECT_THAT(std::string(early.status().message()), HasSubstr(other + "-wal"));
  // The last one's damage can't be told from a crash in the middle of it.
  auto last = open_copy("value-of-9");
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_TRUE((*last)->Get("k8").ok());
  EXPECT_FALSE((*last)->Get("k9").ok());
}

TEST_F(StoreTest, AFileWithoutChecksumsGetsThem) {
  {
    auto db = OpenDatabase(path_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE(Execute(db->get(),
                        "CREATE TABLE object(key TEXT PRIMARY KEY, "
                        "revision INTEGER NOT NULL, value TEXT NOT NULL);"
                        "CREATE TABLE state(revision INTEGER NOT NULL);"
                        "INSERT INTO state VALUES(7);"
                        "INSERT INTO object VALUES('a/1',7,'one');"
                        "CREATE TABLE past(revision INTEGER NOT NULL, "
                        "key TEXT NOT NULL, value TEXT, before_revision "
                        "INTEGER, before TEXT, PRIMARY KEY(revision, key)) "
                        "WITHOUT ROWID;"
                        "INSERT INTO past VALUES(7,'a/1','one',NULL,NULL);"
                        "PRAGMA application_id=1179407188;"
                        "PRAGMA user_version=1").ok());
  }
  Open();
  EXPECT_EQ(store_->revision(), 7);
  EXPECT_EQ(store_->Get("a/1")->value, "one");
  EXPECT_TRUE(store_->Past()->empty());
  EXPECT_EQ(*Put("a/1", 7, "uno"), 8);
  Open();
  EXPECT_EQ(store_->Get("a/1")->value, "uno");
  EXPECT_EQ(store_->Past()->size(), 1u);
}

TEST_F(StoreTest, TheFileIsBounded) {
  Open();
  constexpr int kUpdates = 50'000, kAtOnce = 500;
  Revision revision = *Put("leases/n/a", 0, "0");
  for (int i = 0; i < kUpdates; i += kAtOnce) {
    absl::Status status;
    for (int j = 0; j < kAtOnce; ++j) {
      store_->Commit({{"leases/n/a", revision + j, std::string(1000, 'v'),
                       nullptr}},
                     [&, j](absl::StatusOr<Revision> result) {
                       status.Update(result.status());
                       if (j + 1 == kAtOnce) loop_.Stop();
                     });
    }
    loop_.Run();
    ASSERT_TRUE(status.ok()) << status;
    revision += kAtOnce;
  }
  EXPECT_EQ(store_->revision(), revision);
  // A thousand changes of 2 KB are kept.
  EXPECT_LT(std::filesystem::file_size(path_), 12u << 20);
  EXPECT_LT(std::filesystem::file_size(path_ + "-wal"), 16u << 20);
}

TEST_F(StoreTest, ACommitWithoutWritesSaysWhetherWritingWorks) {
  Open();
  const Revision before = *Put("k", 0, "v");
  EXPECT_EQ(*Commit({}), before);
  EXPECT_EQ(*Put("l", 0, "v"), before + 1);
}

TEST_F(StoreTest, AFullDiskFailsTheWriteAndKeepsWhatWasThere) {
  Open();
  absl::StatusOr<Revision> before = Put("k", 0, "v");
  ASSERT_TRUE(before.ok());
  // A file size limit is a disk that is full, for this process.
  signal(SIGXFSZ, SIG_IGN);
  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  rlimit small = old;
  small.rlim_cur = 64 << 10;
  setrlimit(RLIMIT_FSIZE, &small);
  absl::StatusOr<Revision> failed = Put("big", 0, std::string(1 << 20, 'x'));
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(store_->revision(), *before);
  EXPECT_TRUE(absl::IsNotFound(store_->Get("big").status()));
  absl::StatusOr<Revision> after = Put("k", *before, "w");
  ASSERT_TRUE(after.ok()) << after.status();
  Open();
  EXPECT_EQ(store_->Get("k")->value, "w");
}

// As text: "revision key before->value", - for what isn't there.
std::vector<std::string> PastOf(Store& store) {
  std::vector<std::string> out;
  auto past = store.Past();
  if (!past.ok()) return {past.status().ToString()};
  for (const PastChange& change : *past) {
    out.push_back(std::to_string(change.revision) + " " + change.key + " " +
                  (change.before ? change.before->value : "-") + "->" +
                  change.value.value_or("-"));
  }
  return out;
}

TEST_F(StoreTest, ANewProcessKnowsWhatChangedBefore) {
  Open();
  const Revision first = *Put("a", 0, "1");
  const Revision second = *Put("a", first, "2");
  const Revision third =
      *Commit({{"a", second, std::nullopt, nullptr}, {"b", 0, "1", nullptr}});
  EXPECT_FALSE(Put("b", 0, "2").ok());  // changes nothing
  Open();
  auto text = [](Revision revision, const char* change) {
    return std::to_string(revision) + " " + change;
  };
  EXPECT_THAT(PastOf(*store_),
              ElementsAre(text(first, "a -->1"), text(second, "a 1->2"),
                          text(third, "a 2->-"), text(third, "b -->1")));
  // What is too large to be kept ends it.
  const Revision large = *Put("c", 0, std::string(100'000, 'c'));
  EXPECT_THAT(PastOf(*store_), ElementsAre());
  EXPECT_TRUE(Commit({{"c", large, "small", nullptr},
                      {"d", 0, "1", nullptr}}).ok());
  EXPECT_THAT(PastOf(*store_), ElementsAre());
  const Revision last = *Put("e", 0, "1");
  EXPECT_THAT(PastOf(*store_), ElementsAre(text(last, "e -->1")));
}

// Whose rows say what was written, too; and what has become of a key by the
// time of reading.
TEST_F(StoreTest, TheHistoryOfAnEarlierFormatIsReadAndGoesOn) {
  Open();
  const Revision first = *Put("a", 0, "1");
  const Revision second = *Put("a", first, "2");
  store_.reset();
  {
    auto db = OpenDatabase(path_, SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE(Execute(db->get(),
                        ("UPDATE past SET value='1', checksum=" +
                         std::to_string(Checksum("a", first, "1")) +
                         " WHERE revision=" + std::to_string(first) +
                         ";PRAGMA user_version=2").c_str()).ok());
  }
  Open();
  const Revision third = *Put("a", second, "3");
  const Revision fourth = *Commit({{"a", third, std::nullopt, nullptr}});
  const Revision fifth = *Put("a", 0, "5");
  auto text = [](Revision revision, const char* change) {
    return std::to_string(revision) + " " + change;
  };
  Open();
  EXPECT_THAT(PastOf(*store_),
              ElementsAre(text(first, "a -->1"), text(second, "a 1->2"),
                          text(third, "a 2->3"), text(fourth, "a 3->-"),
                          text(fifth, "a -->5")));
}

TEST_F(StoreTest, ThePastIsBounded) {
  Open();
  Revision revision = *Put("k", 0, "0");
  for (int i = 0; i < 2500; i += 100) {
    int waiting = 100;
    for (int j = 0; j < 100; ++j) {
      store_->Commit({{"k" + std::to_string(i + j), 0, "v", nullptr}},
                     [&](absl::StatusOr<Revision> result) {
                       revision = *result;
                       if (--waiting == 0) loop_.Stop();
                     });
    }
    loop_.Run();
  }
  auto past = store_->Past();
  ASSERT_TRUE(past.ok()) << past.status();
  EXPECT_EQ(past->size(), 1000u);
  EXPECT_EQ(past->back().revision, revision);
}

TEST_F(StoreTest, FilesAreForTheirOwnerOnly) {
  std::ofstream(path_).close();
  std::filesystem::permissions(path_, std::filesystem::perms(0644));
  Open();
  ASSERT_TRUE(Put("k", 0, "v").ok());
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    EXPECT_EQ(file.status().permissions(), std::filesystem::perms(0600))
        << file.path();
  }
}

// Pairs are written in one transaction each, before, while and after the file
// is copied: the copy has whole ones, and none from after its revision.
TEST_F(StoreTest, ABackupIsWholeWhileWritesGoOn) {
  Open();
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(
        Put("old" + std::to_string(i), 0, std::string(4000, 'o')).ok());
  }
  const Revision before = store_->revision();
  absl::Status finished = absl::UnknownError("no answer");
  int written = 0;
  bool done = false;
  std::function<void()> write = [&] {
    const std::string n = std::to_string(written++);
    store_->Commit({{"a" + n, 0, std::string(2000, 'a'), nullptr},
                    {"b" + n, 0, std::string(2000, 'b'), nullptr}},
                   [&](absl::StatusOr<Revision> revision) {
                     ASSERT_TRUE(revision.ok()) << revision.status();
                     done ? loop_.Stop() : write();
                   });
  };
  store_->Backup(folder_ + "/copy", [&](absl::Status status) {
    finished = status;
    done = true;
  });
  write();
  Timer deadline = loop_.After(absl::Seconds(60), [&] { loop_.Stop(); });
  loop_.Run();
  ASSERT_TRUE(finished.ok()) << finished;
  EXPECT_GT(written, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/copy.part"));

  auto revision = RestoreSqliteStore(folder_ + "/copy", folder_ + "/other");
  ASSERT_TRUE(revision.ok()) << revision.status();
  auto copy = OpenSqliteStore(&loop_, folder_ + "/other");
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ((*copy)->revision(), *revision);
  EXPECT_GE(*revision, before + kRestoreGap);
  int old = 0, pairs = 0;
  ASSERT_TRUE((*copy)->Range("old", [&](Entry) { ++old; }).ok());
  EXPECT_EQ(old, 300);
  absl::Status pair;
  ASSERT_TRUE((*copy)->Range("a", [&](Entry) { ++pairs; }).ok());
  for (int i = 0; i < pairs; ++i) {
    pair.Update((*copy)->Get("b" + std::to_string(i)).status());
  }
  EXPECT_TRUE(pair.ok()) << pair;
  EXPECT_LE(pairs, written);
}

TEST_F(StoreTest, ABackupThatCantBeWrittenSaysSo) {
  Open();
  ASSERT_TRUE(Put("k", 0, "v").ok());
  for (const std::string& path : {folder_ + "/missing/copy", path_}) {
    absl::Status status;
    store_->Backup(path, [&](absl::Status result) {
      status = result;
      loop_.Stop();
    });
    loop_.Run();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
  EXPECT_TRUE(Put("k2", 0, "v").ok()) << "and the store goes on";
}

TEST_F(StoreTest, ARestoreReplacesWhatIsDamagedAndNothingElse) {
  Open();
  ASSERT_TRUE(Put("k", 0, "v").ok());
  store_->Backup(folder_ + "/copy", [&](absl::Status status) {
    EXPECT_TRUE(status.ok()) << status;
    loop_.Stop();
  });
  loop_.Run();
  auto in_use = RestoreSqliteStore(folder_ + "/copy", path_);
  EXPECT_TRUE(absl::IsUnavailable(in_use.status())) << in_use.status();
  EXPECT_TRUE(Put("later", 0, "v").ok());
  store_.reset();

  std::ofstream(folder_ + "/damaged") << std::string(8192, 'x');
  auto damaged = RestoreSqliteStore(folder_ + "/damaged", path_);
  EXPECT_TRUE(absl::IsDataLoss(damaged.status())) << damaged.status();
  EXPECT_THAT(std::string(damaged.status().message()), HasSubstr("/damaged"));
  Open();
  EXPECT_TRUE(store_->Get("later").ok()) << "a restore that fails changes nothing";
  store_.reset();

  std::ofstream(path_) << std::string(8192, 'x');
  ASSERT_TRUE(RestoreSqliteStore(folder_ + "/copy", path_).ok());
  Open();
  EXPECT_EQ(store_->Get("k")->value, "v");
  EXPECT_FALSE(store_->Get("later").ok());
  EXPECT_TRUE(std::filesystem::exists(path_ + ".replaced"));
}

// A child writes and says on a pipe what was acknowledged; it is killed at a
// random moment, and all that it said must be in the file.
TEST_F(StoreTest, KillNineLosesNoAcknowledgedWrite) {
  std::mt19937 random(std::random_device{}());
  std::map<std::string, std::string> acknowledged;
  for (int round = 0; round < 8; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      EventLoop loop;
      auto store = OpenSqliteStore(&loop, path_);
      if (!store.ok()) _exit(1);
      for (int i = 0; i < 100000; ++i) {
        std::string key =
            "r" + std::to_string(round) + "/" + std::to_string(i);
        (*store)->Commit({{key, 0, "v" + key, nullptr}},
                         [&, key](const absl::StatusOr<Revision>& revision) {
                           if (!revision.ok()) _exit(2);
                           std::string line = key + "\n";
                           if (write(pipe_fds[1], line.data(), line.size()) <
                               0) {
                             _exit(3);
                           }
                           if (key.ends_with("99")) loop.Stop();
                         });
        // A hundred in flight at a time, so that commits are groups.
        if (i % 100 == 99) loop.Run();
      }
      _exit(0);
    }
    close(pipe_fds[1]);
    std::string text;
    char buffer[4096];
    ssize_t n = read(pipe_fds[0], buffer, sizeof buffer);  // it has begun
    ASSERT_GT(n, 0);
    text.append(buffer, n);
    usleep(std::uniform_int_distribution<>(0, 30000)(random));
    kill(child, SIGKILL);
    while ((n = read(pipe_fds[0], buffer, sizeof buffer)) > 0) {
      text.append(buffer, n);
    }
    close(pipe_fds[0]);
    int status;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    std::istringstream lines(text.substr(0, text.rfind('\n') + 1));
    for (std::string key; std::getline(lines, key);) {
      acknowledged[key] = "v" + key;
    }
    Open();
    for (const auto& [key, value] : acknowledged) {
      absl::StatusOr<Entry> entry = store_->Get(key);
      ASSERT_TRUE(entry.ok()) << key << " was lost: " << entry.status();
      EXPECT_EQ(entry->value, value);
    }
    EXPECT_GE(store_->revision(), static_cast<Revision>(acknowledged.size()));
    store_.reset();
  }
  EXPECT_GT(acknowledged.size(), 8u);
}

Event MakeEvent(const std::string& key, Revision revision, ObjectRef before,
                bool deleted = false) {
  auto object = std::make_shared<Object>();
  object->key = key;
  object->revision = revision;
  object->text = "{\"metadata\":{\"resourceVersion\":\"" +
                 std::to_string(revision) + "\"}}";
  Event event;
  event.before = std::move(before);
  event.object = object;
  event.deleted = deleted;
  event.revision = revision;
  return event;
}

TEST(WatchCacheTest, KeepsABoundedHistoryAndCanGoBackInIt) {
  WatchCache cache(3, 1 << 20);
  cache.SetStart(10);
  Event a11 = MakeEvent("a", 11, nullptr);
  cache.Apply(a11);
  Event b12 = MakeEvent("b", 12, nullptr);
  cache.Apply(b12);
  Event a13 = MakeEvent("a", 13, a11.object);
  cache.Apply(a13);
  EXPECT_EQ(cache.oldest(), 10);
  cache.Apply(MakeEvent("b", 14, b12.object, true));
  EXPECT_EQ(cache.oldest(), 11);
  EXPECT_EQ(cache.objects().size(), 1u);
  WatchCache::Objects at12 = cache.At(12);
  ASSERT_EQ(at12.size(), 2u);
  EXPECT_EQ(at12["a"]->revision, 11);
  EXPECT_EQ(at12["b"]->revision, 12);
  WatchCache::Objects at11 = cache.At(11);
  EXPECT_EQ(at11.size(), 1u);
  std::vector<Revision> seen;
  cache.EventsAfter(12, [&](const Event& e) { seen.push_back(e.revision); });
  EXPECT_THAT(seen, ElementsAre(13, 14));
}

TEST(WatchCacheTest, AWatcherMayRemoveItselfAndOthers) {
  WatchCache cache(10, 1 << 20);
  int calls = 0;
  WatchCache::WatcherId first = 0, second = 0;
  first = cache.AddWatcher([&](const Event&) {
    ++calls;
    cache.RemoveWatcher(first);
    cache.RemoveWatcher(second);
  });
  second = cache.AddWatcher([&](const Event&) { calls += 100; });
  cache.AddWatcher([&](const Event&) { calls += 10; });
  cache.Apply(MakeEvent("a", 1, nullptr));
  EXPECT_EQ(calls, 11);
  cache.Apply(MakeEvent("b", 2, nullptr));
  EXPECT_EQ(calls, 21);
}

}  // namespace
}  // namespace fairlead::store
