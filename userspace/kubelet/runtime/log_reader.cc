// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

constexpr int kMaxFiles = 100;  // more rotated files than any log has

UniqueFd OpenFile(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

// Where the last `*lines` lines begin; takes off `*lines` what it found.
off_t TailOffset(int fd, int64_t* lines) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return 0;
  char chunk[65536];
  for (off_t end = info.st_size; end > 0;) {
    const off_t begin =
        std::max<off_t>(0, end - static_cast<off_t>(sizeof(chunk)));
    const ssize_t n =
        pread(fd, chunk, static_cast<size_t>(end - begin), begin);
    for (ssize_t i = n - 1; i >= 0; --i) {
      // The last line's own end begins nothing.
      if (chunk[i] != '\n' || begin + i + 1 == info.st_size) continue;
      if (--*lines == 0) return begin + i + 1;
    }
    end = begin;
  }
  if (info.st_size > 0) --*lines;
  return 0;
}

}  // namespace

LogReader::LogReader(std::string path, const LogQuery& query)
    : path_(std::move(path)), query_(query), left_(query.limit_bytes) {
  if (query_.tail) {
    SeekTail(*query_.tail);
    return;
  }
  int oldest = 0;
  while (oldest < kMaxFiles && access(FileAt(oldest + 1).c_str(), R_OK) == 0)
    ++oldest;
  file_ = OpenFile(FileAt(oldest));
}

std::string LogReader::FileAt(int age) const {
  return age == 0 ? path_ : StrCat(path_, ".", age);
}

void LogReader::SeekTail(int64_t lines) {
  if (lines <= 0) {
    file_ = OpenFile(path_);
    if (file_.valid()) lseek(file_.get(), 0, SEEK_END);
    return;
  }
  for (int age = 0; age < kMaxFiles; ++age) {
    UniqueFd older = OpenFile(FileAt(age));
    if (!older.valid()) return;
    lseek(older.get(), TailOffset(older.get(), &lines), SEEK_SET);
    file_ = std::move(older);
    if (lines <= 0) return;
  }
}

// The file after the one that has been read to its end; invalid: that is the
// newest.
UniqueFd LogReader::OpenNext() const {
  struct stat mine{};
  if (!file_.valid() || fstat(file_.get(), &mine) != 0)
    return OpenFile(path_);
  const auto is_mine = [&](int age) {
    struct stat info{};
    return stat(FileAt(age).c_str(), &info) == 0 &&
           info.st_ino == mine.st_ino && info.st_dev == mine.st_dev;
  };
  // Again if the files were rotated meanwhile: one would be passed over.
  for (int tries = 0; tries < kMaxFiles; ++tries) {
    int age = 0;
    while (age < kMaxFiles && !is_mine(age) &&
           access(FileAt(age).c_str(), F_OK) == 0) {
      ++age;
    }
    if (age == 0) return UniqueFd();
    UniqueFd next = OpenFile(FileAt(age - 1));
    // Rotated away altogether: then it is the oldest that is left.
    if (is_mine(age) || access(FileAt(age).c_str(), F_OK) != 0) return next;
  }
  return UniqueFd();
}

void LogReader::AddRecord(std::string_view record, std::string* out) {
  const size_t stream = record.find(' ');
  const size_t tag = record.find(' ', stream + 1);
  if (stream == record.npos || tag == record.npos || record.size() < tag + 3)
    return;
  const bool whole = record[tag + 1] == 'F';
  const std::string_view stamp = record.substr(0, stream);
  absl::Time time;
  if (query_.since != absl::InfinitePast() &&
      absl::ParseTime(absl::RFC3339_full, Absl(stamp), &time, nullptr) &&
      time < query_.since) {
    return;
  }
  std::string text;
  if (query_.timestamps && !midline_) StrAppend(&text, stamp, " ");
  StrAppend(&text, record.substr(tag + 3), whole ? "\n" : "");
  midline_ = !whole;
  if (left_) {
    if (static_cast<int64_t>(text.size()) > *left_)
      text.resize(static_cast<size_t>(std::max<int64_t>(0, *left_)));
    *left_ -= static_cast<int64_t>(text.size());
  }
  *out += text;
}

std::string LogReader::Read(size_t max) {
  std::string out;
  std::string chunk(max, '\0');
  while (out.empty() && !limited()) {
    const auto take = [&] {
      return file_.valid() ? read(file_.get(), chunk.data(), chunk.size()) : 0;
    };
    ssize_t n = take();
    if (n <= 0) {
      UniqueFd next = OpenNext();
      if (!next.valid()) return out;
      // Once more, now that nothing can be added: it may have got its last
      // records just before it was rotated.
      n = take();
      if (n <= 0) {
        file_ = std::move(next);
        continue;
      }
    }
    rest_.append(chunk, 0, static_cast<size_t>(n));
    size_t at = 0;
    for (size_t end; (end = rest_.find('\n', at)) != std::string::npos;
         at = end + 1) {
      AddRecord(std::string_view(rest_).substr(at, end - at), &out);
    }
    rest_.erase(0, at);
  }
  return out;
}

}  // namespace fairlead::kubelet
