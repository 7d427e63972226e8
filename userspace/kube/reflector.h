// SPDX-License-Identifier: Apache-2.0
// Keeps a copy of one kind of object true: list in pages or as a stream, then
// watch with bookmarks, resuming from the last resourceVersion; a new list
// after 410 or when resuming is impossible; exponential back-off with jitter
// (k8s client-go's reflector is the model). docs/design/api-client.md.
//
// Threads: the event loop's only. The sink outlives the reflector.
#ifndef FAIRLEAD_USERSPACE_KUBE_REFLECTOR_H_
#define FAIRLEAD_USERSPACE_KUBE_REFLECTOR_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/encoded_object.h"
#include "userspace/kube/resource.h"
#include "userspace/kube/transport.h"

namespace fairlead::kube {

enum class WatchEvent { kAdded, kModified, kDeleted };

// What a reflector feeds. A list arrives as ReplaceBegin, an OnListed for each
// object, ReplaceEnd (objects not listed in between are gone); a failed list
// as ReplaceBegin ... ReplaceAbort (the old content stays). An object is valid
// during the call only, and in JSON unless ReflectorOptions::protobuf. A bad
// object is the sink's to count; the stream goes on.
class ReflectorSink {
 public:
  virtual ~ReflectorSink() = default;
  virtual void ReplaceBegin() = 0;
  virtual void OnListed(const EncodedObject& object) = 0;
  virtual void ReplaceEnd(std::string_view resource_version) = 0;
  virtual void ReplaceAbort() = 0;
  virtual void OnEvent(WatchEvent event, const EncodedObject& object) = 0;
  // The same, if ReflectorOptions::objects and the transport can.
  virtual void OnObject(WatchEvent event, const WatchedObject& object) {
    (void)event, (void)object;
  }
  // Connected or not, for health and logs.
  virtual void OnState(const absl::Status& status) = 0;
  // An event that does not belong here was left out: of another kind, of an
  // unknown type, or older than what has been seen.
  virtual void OnIgnored(std::string_view why) { (void)why; }
};

struct ReflectorOptions {
  Resource resource;
  std::string ns;  // "": all namespaces
  std::string label_selector;
  std::string field_selector;
  std::string user_agent = "fairlead";
  int page_size = 500;
  // Ask for protobuf, and take JSON from a server that has none.
  bool protobuf = false;
  // Take events as objects from a transport that has them. Not with protobuf or
  // streamed_list.
  bool objects = false;
  // Ask for the list as the beginning of the watch (sendInitialEvents), and
  // take pages from a server that can't.
  bool streamed_list = false;
  absl::Duration min_backoff = absl::Milliseconds(200);
  absl::Duration max_backoff = absl::Seconds(30);
  // The server ends a watch after about this long; a watch that stays silent
  // (no event, no bookmark) for 1.5 times this is taken for dead.
  absl::Duration watch_timeout = absl::Minutes(5);
  // As long as this in the middle of an object, and the server is taken for
  // stalled.
  absl::Duration stall_timeout = absl::Seconds(20);
  // Kubernetes since 1.19 refuses what it can't stream; another server may
  // overlook sendInitialEvents and start a plain watch, which tells of all
  // objects too but of no end. After so much silence where objects or the end
  // are due, or so long after the first change or bookmark without the end,
  // pages are asked for.
  absl::Duration list_end_timeout = absl::Seconds(5);
};

class Reflector {
 public:
  Reflector(EventLoop* loop, Transport* transport, ReflectorOptions options,
            ReflectorSink* sink);
  ~Reflector();

  void Start();
  void Stop();
  bool has_synced() const;  // one list has been delivered whole
  const std::string& resource_version() const;

  struct Stats {
    uint64_t lists = 0, watches = 0, events = 0, bookmarks = 0, errors = 0,
             ignored = 0;
  };
  const Stats& stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_REFLECTOR_H_
