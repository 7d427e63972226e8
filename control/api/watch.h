// SPDX-License-Identifier: Apache-2.0
// Streams of changes to those who watch a kind.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_WATCH_H_
#define FAIRLEAD_CONTROL_API_WATCH_H_

#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "control/api/http.h"
#include "control/api/registry.h"
#include "control/api/verbs.h"

namespace fairlead::api {

struct WatchLimits {
  // By which a client may fall behind; its first events come on top.
  size_t max_queue_bytes = 16u << 20;
  absl::Duration bookmark_interval = absl::Minutes(1);
  absl::Duration min_timeout = absl::Minutes(30);
};

// Owns the watches that are open; destroying it ends them.
class Watches {
 public:
  Watches(Registry* registry, WatchLimits limits);
  ~Watches();

  void Open(ApiRequestRef request, ResponderRef responder);
  size_t open() const { return watches_.size(); }
  uint64_t cut_off() const { return cut_off_; }
  uint64_t events_sent() const { return events_sent_; }

 private:
  class Watch;
  void Remove(uint64_t id);

  Registry* registry_;
  WatchLimits limits_;
  uint64_t next_id_ = 1;
  uint64_t cut_off_ = 0, events_sent_ = 0;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Watch>> watches_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_WATCH_H_
