// SPDX-License-Identifier: Apache-2.0
#include "control/server/backups.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::server {
namespace {

namespace fs = std::filesystem;

constexpr char kName[] = "%E4Y%m%dT%H%M%SZ.db";
// A start is busy enough.
constexpr absl::Duration kAfterStart = absl::Seconds(10);

bool TimeOf(const fs::path& file, absl::Time* time) {
  std::string error;
  return absl::ParseTime(kName, file.filename().string(), time, &error);
}

// Oldest first. What has another name is somebody else's.
std::vector<std::string> Files(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    absl::Time ignored;
    if (TimeOf(entry.path(), &ignored)) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

absl::StatusOr<std::string> NewestBackup(const std::string& folder) {
  std::vector<std::string> files = Files(folder);
  if (files.empty()) return absl::NotFoundError(StrCat("none in ", folder));
  return files.back();
}

Backups::Backups(EventLoop* loop, store::Store* store, BackupOptions options)
    : loop_(loop), store_(store), options_(std::move(options)) {
  Schedule();
}

void Backups::Schedule() {
  if (options_.interval == absl::ZeroDuration()) return;
  absl::Duration delay = kAfterStart;
  absl::Time newest;
  if (auto file = NewestBackup(options_.folder);
      file.ok() && TimeOf(*file, &newest)) {
    // A clock that was set back doesn't put it off for longer.
    delay = std::clamp(newest + options_.interval - absl::Now(), kAfterStart,
                       std::max(options_.interval, kAfterStart));
  }
  next_ = loop_->After(delay, [this] { Make(); });
}

void Backups::Make() {
  if (under_way_) return;
  under_way_ = true;
  std::error_code error;
  if (fs::create_directories(options_.folder, error)) {
    fs::permissions(options_.folder, fs::perms::owner_all, error);
  }
  const std::string path = StrCat(
      options_.folder, "/",
      absl::FormatTime(kName, absl::Now(), absl::UTCTimeZone()));
  store_->Backup(path, [this, path](const absl::Status& status) {
    Finished(path, status);
  });
}

void Backups::Finished(const std::string& path, const absl::Status& status) {
  under_way_ = false;
  if (status.ok()) {
    ++made_;
    spdlog::info("msg=backup path={}", path);
    RemoveOld();
  } else {
    ++failed_;
    spdlog::error("msg=\"no backup\" error=\"{}\"",
                  std::string(status.message()));
  }
  if (options_.interval == absl::ZeroDuration()) return;
  next_ = loop_->After(std::max(options_.interval, kAfterStart),
                       [this] { Make(); });
}

void Backups::RemoveOld() {
  std::vector<std::string> files = Files(options_.folder);
  for (size_t i = 0; i + options_.keep < files.size(); ++i) {
    std::error_code error;
    fs::remove(files[i], error);
    if (error) {
      spdlog::warn("msg=\"old backup stays\" path={} error=\"{}\"", files[i],
                   error.message());
    }
  }
}

std::string Backups::Metrics() const {
  return StrCat("# TYPE fl_backups_total counter\nfl_backups_total ", made_,
                "\n# TYPE fl_backup_failures_total counter\n"
                "fl_backup_failures_total ", failed_, "\n");
}

}  // namespace fairlead::server
