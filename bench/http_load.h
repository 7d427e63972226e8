// SPDX-License-Identifier: Apache-2.0
// HTTP clients on loopback that take little of the processor they share with
// the server they measure: a request is bytes that are ready, and of an answer
// only its status, its length and its lines are looked at.
// Threads: the benchmark's one; Watchers read on a thread of their own.
#ifndef FAIRLEAD_BENCH_HTTP_LOAD_H_
#define FAIRLEAD_BENCH_HTTP_LOAD_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {

// A request as it goes over the wire.
std::string HttpRequest(std::string_view method, std::string_view target,
                        std::string_view body = "",
                        std::string_view headers = "");

struct LoadResult {
  absl::Duration took, p99;
  size_t bytes = 0;  // of all the answers' bodies
};

// Sends request(0) ... request(n - 1) over `clients` connections, each of which
// waits for its answer before it sends the next. Any answer that isn't a 2xx,
// and 60 s without one, is an error.
absl::StatusOr<LoadResult> RunLoad(
    uint16_t port, int n, int clients,
    const std::function<std::string(int)>& request);

// Clients that read an answer that goes on, as a watch's, and count `mark` in it.
class Watchers {
 public:
  Watchers(uint16_t port, int n, const std::string& request, std::string mark);
  ~Watchers();
  Watchers(const Watchers&) = delete;

  // Of all together, up to now.
  int64_t marks() const { return marks_; }
  int64_t bytes() const { return bytes_; }

 private:
  struct Watcher {
    UniqueFd fd;
    std::string read;  // what could be the beginning of a mark; then the rest
  };
  void Read();
  int64_t CountMarks(std::string& text) const;

  const std::string mark_;
  std::vector<Watcher> watchers_;
  UniqueFd poll_, stop_;
  std::atomic<int64_t> marks_ = 0, bytes_ = 0;
  std::thread thread_;
};

}  // namespace fairlead

#endif  // FAIRLEAD_BENCH_HTTP_LOAD_H_
