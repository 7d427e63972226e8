// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

namespace fairlead::kubelet {
namespace {

// A longer line is cut into records, as container runtimes do.
constexpr size_t kMaxRecord = 16u << 10;

std::string Timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char seconds[32], text[64];
  strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text, sizeof text, "%s.%09ldZ", seconds, now.tv_nsec);
  return text;
}

}  // namespace

LogWriter::LogWriter(std::string path, size_t max_bytes, int files)
    : path_(std::move(path)), max_bytes_(max_bytes), files_(files) {}

LogWriter::~LogWriter() {
  if (fd_ >= 0) close(fd_);
}

bool LogWriter::Open() {
  fd_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  struct stat info{};
  size_ = fd_ >= 0 && fstat(fd_, &info) == 0
              ? static_cast<size_t>(info.st_size)
              : 0;
  return fd_ >= 0;
}

void LogWriter::Rotate() {
  close(fd_);
  for (int i = files_ - 1; i > 0; --i) {
    const std::string from =
        i == 1 ? path_ : path_ + "." + std::to_string(i - 1);
    rename(from.c_str(), (path_ + "." + std::to_string(i)).c_str());
  }
  if (files_ <= 1) unlink(path_.c_str());
  Open();
}

void LogWriter::WriteRecord(Stream stream, const std::string& text,
                            bool whole) {
  const std::string record = Timestamp() +
                             (stream == kStdout ? " stdout " : " stderr ") +
                             (whole ? "F " : "P ") + text + "\n";
  if (size_ > 0 && size_ + record.size() > max_bytes_) Rotate();
  if (fd_ < 0 && !Open()) return;
  const ssize_t n = write(fd_, record.data(), record.size());
  if (n > 0) size_ += static_cast<size_t>(n);
  // Half a record would spoil the next one.
  if (n >= 0 && static_cast<size_t>(n) < record.size() && n > 0 &&
      ftruncate(fd_, static_cast<off_t>(size_ - static_cast<size_t>(n))) == 0) {
    size_ -= static_cast<size_t>(n);
  }
}

void LogWriter::Add(Stream stream, const char* data, size_t size) {
  std::string& kept = kept_[stream];
  while (size > 0) {
    const void* end = memchr(data, '\n', size);
    const size_t line =
        end == nullptr ? size
                       : static_cast<size_t>(static_cast<const char*>(end) -
                                             data);
    const size_t take = std::min(line, kMaxRecord - kept.size());
    kept.append(data, take);
    data += take;
    size -= take;
    if (take == line && end != nullptr) {
      WriteRecord(stream, std::exchange(kept, {}), true);
      ++data;
      --size;
    } else if (kept.size() == kMaxRecord) {
      WriteRecord(stream, std::exchange(kept, {}), false);
    }
  }
}

void LogWriter::Finish() {
  for (const Stream stream : {kStdout, kStderr}) {
    if (!kept_[stream].empty())
      WriteRecord(stream, std::exchange(kept_[stream], {}), true);
  }
}

}  // namespace fairlead::kubelet
