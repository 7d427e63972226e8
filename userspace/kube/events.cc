// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/events.h"

#include <algorithm>
#include <list>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

// Per object: a burst, then one each refill period (client-go's figures).
constexpr int kBurst = 25;
constexpr absl::Duration kRefill = absl::Minutes(5);
// Remembered events; more are sent as new ones.
constexpr size_t kMaxKnown = 2048;
constexpr size_t kMaxUnderWay = 256;

std::string Rfc3339(absl::Time t) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", t, absl::UTCTimeZone());
}

std::string FieldOr(const Json& object, const char* field,
                    std::string_view otherwise) {
  auto it = object.find(field);
  return it != object.end() && it->is_string() ? it->get<std::string>()
                                               : std::string(otherwise);
}

std::string MicroTime(absl::Time t) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", t, absl::UTCTimeZone());
}

struct What {
  EventType type;
  std::string reason, message, action;
};

struct Known {
  std::string name;
  int count = 1;
};

struct Bucket {
  double tokens = kBurst;
  absl::Time at;
};

}  // namespace

Json ReferenceTo(const Resource& resource, const Json& object,
                 std::string_view field_path) {
  Json reference = {{"apiVersion", resource.ApiVersion()},
                    {"kind", resource.kind}};
  auto meta = object.find("metadata");
  if (meta != object.end() && meta->is_object()) {
    for (const char* field : {"namespace", "name", "uid", "resourceVersion"}) {
      if (auto it = meta->find(field); it != meta->end()) {
        reference[field] = *it;
      }
    }
  }
  if (!field_path.empty()) reference["fieldPath"] = field_path;
  return reference;
}

class EventRecorder::Impl {
 public:
  Impl(EventLoop* loop, Client* client, std::string component,
       std::string host, EventApi api, const Clock& clock)
      : loop_(loop),
        client_(client),
        component_(std::move(component)),
        host_(std::move(host)),
        api_(api),
        clock_(clock) {}

  void Record(const Json& about, EventType type, std::string_view reason,
              std::string_view message, std::string_view action) {
    loop_->DCheckInLoop();
    absl::Time now = clock_.Now();
    if (calls_.size() >= kMaxUnderWay) return;
    if (!TakeToken(FieldOr(about, "uid", FieldOr(about, "name", "")), now)) {
      return;
    }
    std::string ns = FieldOr(about, "namespace", "default");
    // An object's own resourceVersion does not make its event another one.
    Json stable = about;
    stable.erase("resourceVersion");
    std::string key = StrCat(
        stable.dump(-1, ' ', false, Json::error_handler_t::replace), "|",
        static_cast<int>(type), "|", reason, "|", message);
    if (auto it = known_.find(key); it != known_.end()) {
      Repeat(ns, key, it->second, now);
      return;
    }
    if (known_.size() >= kMaxKnown) known_.clear();
    Create(ns, key, about,
           {type, std::string(reason), std::string(message.substr(0, 1024)),
            std::string(action)},
           now);
  }

 private:
  bool TakeToken(const std::string& object, absl::Time now) {
    if (buckets_.size() >= kMaxKnown) buckets_.clear();
    auto [it, added] = buckets_.try_emplace(object);
    Bucket& bucket = it->second;
    if (!added) {
      bucket.tokens = std::min<double>(
          kBurst,
          bucket.tokens + absl::FDivDuration(now - bucket.at, kRefill));
    }
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  void Create(const std::string& ns, const std::string& key,
              const Json& about, const What& what, absl::Time now) {
    std::string name = absl::StrFormat("%s.%x", FieldOr(about, "name", "event"),
                                       absl::ToUnixNanos(now) + serial_++);
    Json event = api_ == EventApi::kEvents ? EventV1(about, what, now)
                                           : CoreEvent(about, what, now);
    event["metadata"] = {{"namespace", ns}, {"name", name}};
    event["kind"] = "Event";
    event["reason"] = what.reason;
    event["type"] = what.type == EventType::kNormal ? "Normal" : "Warning";
    event["reportingInstance"] = host_;
    known_[key] = Known{.name = std::move(name)};
    Send(key,
         [&](Client::Done done) {
           return client_->Create(Kind(), event, std::move(done));
         },
         [this, ns, key, about, what, now] {
           Create(ns, key, about, what, now);
         });
  }

  Json CoreEvent(const Json& about, const What& what, absl::Time now) const {
    Json source = {{"component", component_}};
    if (!host_.empty()) source["host"] = host_;
    return {{"apiVersion", "v1"},
            {"involvedObject", about},
            {"message", what.message},
            {"source", std::move(source)},
            {"firstTimestamp", Rfc3339(now)},
            {"lastTimestamp", Rfc3339(now)},
            {"count", 1},
            {"reportingComponent", component_}};
  }

  Json EventV1(const Json& about, const What& what, absl::Time now) const {
    return {{"apiVersion", "events.k8s.io/v1"},
            {"regarding", about},
            {"note", what.message},
            {"action", what.action},
            {"eventTime", MicroTime(now)},
            {"reportingController", component_}};
  }

  void Repeat(const std::string& ns, const std::string& key, Known& known,
              absl::Time now) {
    ++known.count;
    Json patch = {{"count", known.count}, {"lastTimestamp", Rfc3339(now)}};
    if (api_ == EventApi::kEvents) {
      patch = {{"series", {{"count", known.count},
                           {"lastObservedTime", MicroTime(now)}}}};
    }
    Send(key, [&](Client::Done done) {
      return client_->Patch(Kind(), ns, known.name, "", PatchType::kMerge,
                            patch, std::move(done));
    });
  }

  const Resource& Kind() const {
    return api_ == EventApi::kEvents ? EventsV1() : Events();
  }

  // `again`: sends the event once more, by its older name.
  template <typename Start>
  void Send(const std::string& key, Start start,
            std::function<void()> again = nullptr) {
    auto call = calls_.insert(calls_.end(), nullptr);
    const EventApi asked = api_;
    *call = start([this, call, key, asked,
                   again = std::move(again)](absl::StatusOr<Json> result) {
      // Gone (expired) or refused: the next one is sent as new.
      if (!result.ok()) known_.erase(key);
      // The Call is in the middle of running this callback.
      loop_->Post([done = std::move(*call)]() mutable { done.reset(); });
      calls_.erase(call);
      // A server without the group; it isn't asked for it again.
      if (again && asked == EventApi::kEvents &&
          absl::IsNotFound(result.status())) {
        api_ = EventApi::kCore;
        again();
      }
    });
  }

  EventLoop* loop_;
  Client* client_;
  std::string component_;
  std::string host_;
  EventApi api_;
  const Clock& clock_;
  absl::flat_hash_map<std::string, Known> known_;
  absl::flat_hash_map<std::string, Bucket> buckets_;
  std::list<std::unique_ptr<Call>> calls_;
  int serial_ = 0;
};

EventRecorder::EventRecorder(EventLoop* loop, Client* client,
                             std::string component, std::string host,
                             EventApi api, const Clock& clock)
    : impl_(std::make_unique<Impl>(loop, client, std::move(component),
                                   std::move(host), api, clock)) {}
EventRecorder::~EventRecorder() = default;

void EventRecorder::Record(const Json& about, EventType type,
                           std::string_view reason,
                           std::string_view message,
                           std::string_view action) {
  impl_->Record(about, type, reason, message, action);
}

}  // namespace fairlead::kube
