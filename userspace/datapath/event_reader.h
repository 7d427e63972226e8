// SPDX-License-Identifier: Apache-2.0
// Delivers the programs' sampled drop events from the ring buffer.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_EVENT_READER_H_
#define FAIRLEAD_USERSPACE_DATAPATH_EVENT_READER_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/pin_layout.h"

struct ring_buffer;

namespace fairlead::datapath {

class EventReader {
 public:
  // Runs on the reader's own thread: post to your loop.
  using Callback = std::function<void(const fl_event&)>;

  // Only one reader at a time gets each event.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EventReader>> Start(
      const PinLayout& layout, Callback callback);
  // Stops the thread; no callback runs after this.
  ~EventReader();
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

 private:
  struct RingDeleter {
    void operator()(ring_buffer* ring) const;
  };
  explicit EventReader(Callback callback) : callback_(std::move(callback)) {}
  static int OnRecord(void* self, void* record, size_t size);
  void Run();

  Callback callback_;
  UniqueFd map_;
  UniqueFd stop_;  // eventfd
  std::unique_ptr<ring_buffer, RingDeleter> ring_;
  std::thread thread_;
};

// "drop_no_flow 10.0.0.1:4000 -> 10.96.0.1:80/TCP ingress ifindex=3 ...".
std::string ToString(const fl_event& event);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_EVENT_READER_H_
