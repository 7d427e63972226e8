// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/event_reader.h"

#include <bpf/libbpf.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/inspect.h"
#include "userspace/datapath/kernel_maps.h"

namespace fairlead::datapath {

void EventReader::RingDeleter::operator()(ring_buffer* ring) const {
  ring_buffer__free(ring);
}

absl::StatusOr<std::unique_ptr<EventReader>> EventReader::Start(
    const PinLayout& layout, Callback callback) {
  std::unique_ptr<EventReader> reader(new EventReader(std::move(callback)));
  FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, "fl_event"));
  reader->map_ = std::move(map.fd);
  reader->stop_.reset(eventfd(0, EFD_CLOEXEC));
  if (!reader->stop_.valid()) return ErrnoStatus(errno, "eventfd");
  reader->ring_.reset(ring_buffer__new(
      reader->map_.get(), &EventReader::OnRecord, reader.get(), nullptr));
  if (reader->ring_ == nullptr) return ErrnoStatus(errno, "map the event ring");
  reader->thread_ = std::thread(&EventReader::Run, reader.get());
  return reader;
}

EventReader::~EventReader() {
  if (!thread_.joinable()) return;
  uint64_t one = 1;
  // Can't fail: the counter is far from its limit.
  (void)!write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

int EventReader::OnRecord(void* self, void* record, size_t size) {
  fl_event event;
  if (size < sizeof(event)) return 0;
  memcpy(&event, record, sizeof(event));
  static_cast<EventReader*>(self)->callback_(event);
  return 0;
}

void EventReader::Run() {
  pollfd waits[] = {{ring_buffer__epoll_fd(ring_.get()), POLLIN, 0},
                    {stop_.get(), POLLIN, 0}};
  for (;;) {
    if (poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0) return;
    if (waits[0].revents != 0) ring_buffer__poll(ring_.get(), 0);
  }
}

std::string ToString(const fl_event& event) {
  return StrCat(CounterName(event.counter), " ", ToString(event.tuple),
                " ifindex=", event.ifindex, " service=", event.service_id,
                " backend=", event.backend_id);
}

}  // namespace fairlead::datapath
