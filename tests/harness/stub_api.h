// SPDX-License-Identifier: Apache-2.0
// A Kubernetes API server as small as an agent's test needs it: lists and
// watches of objects that the test puts in, streamed lists, and a record of
// what is created. JSON; watches in protobuf if the test brings an encoder.
// Selectors and limits are ignored.
//
// Threads: all methods from any.
#ifndef FAIRLEAD_TESTS_HARNESS_STUB_API_H_
#define FAIRLEAD_TESTS_HARNESS_STUB_API_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/harness/scopes.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

class StubApi {
 public:
  // Listens on 127.0.0.1:8001 of the namespace, which outlives this.
  explicit StubApi(const NetnsScope* netns);
  ~StubApi();

  static std::string url() { return "http://127.0.0.1:8001"; }
  [[nodiscard]] absl::Status Start();
  // As a killed server: connections are reset, nobody listens. The objects
  // stay.
  void Stop();

  // Makes a watch's frame of an event's type and object. REQUIRES: before Put
  // and Start.
  using Encoder = std::function<std::string(std::string_view type,
                                            const std::string& object)>;
  void WatchInProtobuf(Encoder encoder) { encoder_ = std::move(encoder); }
  // Off: a server that doesn't know sendInitialEvents, and says so. REQUIRES:
  // before Start, or no client asks.
  void StreamLists(bool on) { streams_lists_ = on; }
  // Off: events.k8s.io is 404, core events are taken.
  void ServeEventsGroup(bool on) { serves_events_group_ = on; }

  // What is asked of this resource is answered with this HTTP status from now
  // on; 0: as ever.
  void Refuse(const std::string& resource, int status);

  // `resource`: "services". `body`: the object without resourceVersion, its
  // metadata first and beginning with "name".
  void Put(const std::string& resource, const std::string& name,
           const std::string& labels, const std::string& rest);
  // The same with the whole object, in the version that it is given.
  void PutWhole(const std::string& resource, const std::string& name,
                const std::function<std::string(uint64_t version)>& object);
  void Delete(const std::string& resource, const std::string& name);
  // An event of no object that is kept: `frame` makes it, of a version. The
  // version.
  uint64_t SendEvent(
      const std::string& resource,
      const std::function<std::string(uint64_t version)>& frame);
  // When the first byte of an answer went out, by the monotonic clock; nullopt
  // before. ForgetFirstByte: the next one counts.
  std::optional<absl::Duration> first_byte();
  void ForgetFirstByte();
  // Bodies of what was POSTed.
  std::vector<std::string> Created();
  // First lines of what was asked, the oldest first: "GET /api/v1/nodes?...".
  std::vector<std::string> Requests();
  // The newest request with its headers.
  std::string LastHead();

 private:
  struct Event {
    uint64_t version;
    std::string resource;
    std::string frame;
  };
  struct Object {
    std::string json;
    std::string frame;  // as the event that adds it
  };
  void Accept(int listener);
  void Connection(int fd);
  bool Answer(int fd, const std::string& head, const std::string& body);
  int Refusal(const std::string& resource);
  bool Watch(int fd, const std::string& resource, uint64_t version,
             bool from_list);
  std::string Frame(std::string_view type, const std::string& object) const;
  // All objects as frames, and the bookmark behind them, each in a chunk of its
  // own. REQUIRES: mutex_.
  std::string InitialEvents(const std::string& resource) const;

  const NetnsScope* netns_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;
  uint64_t version_ = 100;
  std::map<std::string, std::map<std::string, Object>> objects_;
  Encoder encoder_;
  std::atomic<bool> streams_lists_ = true;
  std::atomic<bool> serves_events_group_ = true;
  std::map<std::string, int> refused_;
  std::vector<Event> events_;
  std::vector<std::string> created_;
  std::vector<std::string> requests_;
  std::string last_head_;
  std::optional<absl::Duration> first_byte_;
  UniqueFd listener_;
  std::list<int> open_;
  std::vector<std::thread> threads_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_HARNESS_STUB_API_H_
