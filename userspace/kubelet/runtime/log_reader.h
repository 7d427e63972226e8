// SPDX-License-Identifier: Apache-2.0
// Reads a container's log files (log_writer.h), the rotated ones too, as
// `kubectl logs` shows them.
//
// Threads: one at a time. Reads as much as it is asked for and remembers where
// it is, so that a log can be followed over rotations.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_LOG_READER_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_LOG_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {

struct LogQuery {
  std::optional<int64_t> tail;         // lines from the end
  std::optional<int64_t> limit_bytes;  // of output
  absl::Time since = absl::InfinitePast();
  bool timestamps = false;
};

class LogReader {
 public:
  LogReader(std::string path, const LogQuery& query);

  // The next output, from about `max` bytes of the files; "": there is nothing
  // more at the moment.
  std::string Read(size_t max);
  // limit_bytes have been given out.
  bool limited() const { return left_ && *left_ <= 0; }

 private:
  std::string FileAt(int age) const;
  void SeekTail(int64_t lines);
  UniqueFd OpenNext() const;
  void AddRecord(std::string_view record, std::string* out);

  std::string path_;
  LogQuery query_;
  std::optional<int64_t> left_;
  UniqueFd file_;
  std::string rest_;         // of a record that is not whole yet
  bool midline_ = false;     // the record before had no end of line
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_LOG_READER_H_
