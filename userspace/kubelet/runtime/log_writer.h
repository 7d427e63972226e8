// SPDX-License-Identifier: Apache-2.0
// Writes a container's output to a file in the format of container runtimes,
//   2024-01-02T03:04:05.678901234Z stdout F TEXT
// one record a line ("P" instead of "F": the line goes on in the next record),
// and rotates it: PATH is the newest, PATH.1 the one before, and so on.
//
// Part of the shim: no libraries. Not thread-safe. What can't be written (a
// full disk) is dropped: a container never waits for its log.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_LOG_WRITER_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_LOG_WRITER_H_

#include <cstddef>
#include <string>

namespace fairlead::kubelet {

class LogWriter {
 public:
  enum Stream { kStdout = 0, kStderr = 1 };

  // `files`: kept at most, with the newest; `max_bytes`: of one of them.
  LogWriter(std::string path, size_t max_bytes, int files);
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // False with errno: the file can't be opened.
  bool Open();
  // Output as it comes; whole lines are written, the rest is kept.
  void Add(Stream stream, const char* data, size_t size);
  // Writes what is kept, as lines.
  void Finish();

 private:
  void WriteRecord(Stream stream, const std::string& text, bool whole);
  void Rotate();

  std::string path_;
  size_t max_bytes_;
  int files_;
  int fd_ = -1;
  size_t size_ = 0;
  std::string kept_[2];
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_LOG_WRITER_H_
