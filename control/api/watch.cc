// SPDX-License-Identifier: Apache-2.0
#include "control/api/watch.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/list_options.h"
#include "control/api/protobuf_object.h"
#include "control/api/render.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"

namespace fairlead::api {
namespace {

// The last bookmark of a watch comes so long before its end.
constexpr absl::Duration kLastBookmark = absl::Seconds(2);

// `object`'s text with another resourceVersion.
std::string TextWithRevision(const store::Object& object,
                             store::Revision revision) {
  // {"metadata":{"resourceVersion":"7", ...
  std::string_view text = object.text;
  size_t start = text.find(':', text.find("\"resourceVersion\"")) + 2;
  size_t end = text.find('"', start);
  return StrCat(text.substr(0, start), revision, text.substr(end));
}

}  // namespace

class Watches::Watch {
 public:
  Watch(Watches* watches, uint64_t id, ApiRequestRef request,
        ResponderRef responder, ListOptions options, Selection selection)
      : watches_(watches),
        id_(id),
        request_(std::move(request)),
        responder_(std::move(responder)),
        options_(std::move(options)),
        selection_(std::move(selection)) {}

  ~Watch() {
    if (watcher_ != 0) request_->served->cache.RemoveWatcher(watcher_);
  }

  void Start() {
    kube::Response head;
    head.status = 200;
    head.headers = {
        {"Content-Type", request_->representation.protobuf
                             ? StrCat(kProtobufType, ";stream=watch")
                             : std::string("application/json")}};
    responder_->Begin(std::move(head));
    responder_->OnClosed([watches = watches_, id = id_,
                          alive = std::weak_ptr<bool>(alive_)] {
      if (!alive.expired()) watches->Remove(id);
    });
    if (!SendInitial()) return;
    // What the client asked for isn't held against it: from here on it may
    // fall behind by the limit, and the more the less of that it has left.
    ceiling_ = responder_->queued_bytes() + watches_->limits_.max_queue_bytes;
    watcher_ = request_->served->cache.AddWatcher(
        [this](const store::Event& event) { OnEvent(event); });
    absl::Duration timeout =
        options_.timeout_seconds.has_value()
            ? absl::Seconds(std::max<int64_t>(*options_.timeout_seconds, 0))
            : watches_->limits_.min_timeout * absl::Uniform(random_, 1.0, 2.0);
    EventLoop* loop = watches_->registry_->loop();
    end_timer_ = loop->After(timeout, [this] { End(); });
    if (options_.bookmarks) {
      last_bookmark_ = loop->After(
          std::max(timeout - kLastBookmark, absl::ZeroDuration()),
          [this] { SendBookmark(false); });
      NextBookmark();
    }
  }

  // The responder without the watch's own callbacks.
  void Close() { responder_->End(); }

 private:
  const Kind& kind() const { return request_->kind(); }
  Served& served() { return *request_->served; }

  // What comes before new events. False: the watch has ended.
  bool SendInitial() {
    store::WatchCache& cache = served().cache;
    store::Revision current = watches_->registry_->revision();
    store::Revision version = options_.version.value_or(0);
    bool initial = options_.send_initial_events.value_or(version == 0);
    if (!initial) {
      if (version == 0) version = current;
      if (version < cache.oldest()) {
        SendStatus(Expired(StrCat("too old resource version: ", version, " (",
                                  cache.oldest(), ")")));
        End();
        return false;
      }
      not_before_ = version;
      cache.EventsAfter(version,
                        [this](const store::Event& event) { OnEvent(event); });
      return !ended_;
    }
    if (version > current) {
      SendStatus(VersionTooLarge(version, current));
      End();
      return false;
    }
    for (const auto& [key, object] : cache.objects()) {
      if (ended_) return false;
      if (selection_.Matches(*object)) SendObject("ADDED", *object, 0);
    }
    // Without resourceVersion the end is told too, though nobody asked.
    if (options_.bookmarks && (options_.send_initial_events.value_or(false) ||
                               !options_.version.has_value())) {
      SendBookmark(true);
    }
    return !ended_;
  }

  void OnEvent(const store::Event& event) {
    if (ended_ || event.revision <= not_before_) return;
    bool before = event.before != nullptr && selection_.Matches(*event.before);
    bool after = !event.deleted && selection_.Matches(*event.object);
    if (event.deleted) {
      // By what it was: its last content may differ from the one before.
      if (before) SendEvent("DELETED", event);
    } else if (before && after) {
      SendEvent("MODIFIED", event);
    } else if (after) {
      SendEvent("ADDED", event);
    } else if (before) {
      SendObject("DELETED", *event.before, event.revision);
    }
  }

  // The event as its kind of watcher mostly sends it: encoded once.
  void SendEvent(std::string_view type, const store::Event& event) {
    std::string_view usual = event.deleted            ? "DELETED"
                             : event.before != nullptr ? "MODIFIED"
                                                       : "ADDED";
    if (type != usual || request_->representation.form !=
                             Representation::Form::kObject) {
      return SendObject(type, *event.object, 0);
    }
    if (request_->representation.protobuf) {
      if (event.frame == nullptr) {
        event.frame = Encoded(type, ParseObject(served(), *event.object));
      }
      return Send(event.frame);
    }
    if (event.tree != nullptr && responder_->TakesObjects()) {
      return SendTree(usual, event);
    }
    if (event.line == nullptr) {
      event.line = std::make_shared<const std::string>(
          Line(type, FullText(served(), *event.object)));
    }
    Send(event.line);
  }

  // To somebody in this process.
  void SendTree(std::string_view type, const store::Event& event) {
    if (ended_) return;
    if (event.watched == nullptr) {
      event.watched = std::make_shared<const kube::WatchedObject>(
          kube::WatchedObject{
              type, StrCat(event.revision), event.tree,
              event.tree_text});
    }
    Write([&] { responder_->WriteObject(event.watched); });
  }

  static std::string Line(std::string_view type, std::string_view object) {
    return StrCat("{\"type\":\"", type, "\",\"object\":", object, "}\n");
  }

  // An event as it goes over the wire.
  std::shared_ptr<const std::string> Encoded(std::string_view type,
                                             const Json& object) {
    if (request_->representation.protobuf) {
      ProtobufObjects objects(&watches_->registry_->kinds());
      return std::make_shared<const std::string>(
          objects.WatchFrame(type, object));
    }
    return std::make_shared<const std::string>(Line(
        type, object.dump(-1, ' ', false, Json::error_handler_t::replace)));
  }

  // `revision`: 0 for the object's own.
  void SendObject(std::string_view type, const store::Object& object,
                  store::Revision revision) {
    std::string text = revision == 0 ? object.text
                                     : TextWithRevision(object, revision);
    const Representation& how = request_->representation;
    bool whole = how.form == Representation::Form::kObject;
    if (whole && !how.protobuf) {
      return Send(std::make_shared<const std::string>(Line(
          type, StrCat(served().head, std::string_view(text).substr(1)))));
    }
    Json json = kube::JsonFromText(text);
    json["kind"] = kind().resource.kind;
    json["apiVersion"] = kind().resource.ApiVersion();
    Send(Encoded(type, whole ? json : Shown(json)));
  }

  Json Shown(const Json& object) {
    const Representation& how = request_->representation;
    if (how.form == Representation::Form::kPartialMetadata) {
      return PartialMetadata(object);
    }
    Json table = EmptyTable(kind(), how, !std::exchange(columns_sent_, true));
    table["metadata"]["resourceVersion"] =
        api::Get(object, {"metadata", "resourceVersion"});
    table["rows"].push_back(
        TableRow(kind(), object, how, watches_->registry_->clock().Now()));
    return table;
  }

  void SendBookmark(bool initial_end) {
    if (ended_) return;
    Json metadata = {{"resourceVersion",
                      StrCat(watches_->registry_->revision())}};
    // Typed clients expect the field.
    metadata["creationTimestamp"] = nullptr;
    if (initial_end) {
      metadata["annotations"] = {{"k8s.io/initial-events-end", "true"}};
    }
    Json object = {{"kind", kind().resource.kind},
                   {"apiVersion", kind().resource.ApiVersion()},
                   {"metadata", std::move(metadata)}};
    if (request_->representation.form != Representation::Form::kObject) {
      object = Shown(object);
    }
    Send(Encoded("BOOKMARK", object));
  }

  void NextBookmark() {
    bookmark_timer_ = watches_->registry_->loop()->After(
        watches_->limits_.bookmark_interval, [this] {
          SendBookmark(false);
          if (!ended_) NextBookmark();
        });
  }

  void SendStatus(const absl::Status& status) {
    Send(Encoded("ERROR", StatusObject(ApiStatusOf(status))));
  }

  void Send(std::shared_ptr<const std::string> line) {
    if (ended_) return;
    Write([&] { responder_->Write(std::move(line)); });
  }

  // What `write` gives to the responder, if the client keeps up.
  template <typename WriteFunction>
  void Write(WriteFunction write) {
    ++watches_->events_sent_;
    if (ceiling_.has_value()) {
      ceiling_ = std::min(*ceiling_, responder_->queued_bytes() +
                                         watches_->limits_.max_queue_bytes);
    }
    write();
    if (!ceiling_.has_value() || responder_->queued_bytes() <= *ceiling_) {
      return;
    }
    ++watches_->cut_off_;
    ended_ = true;
    responder_->Abort();
    RemoveLater();
  }

  void End() {
    if (std::exchange(ended_, true)) return;
    responder_->End();
    RemoveLater();
  }

  // Not at once: a callback of this object may be running.
  void RemoveLater() {
    watches_->registry_->loop()->Post(
        [watches = watches_, id = id_,
         alive = std::weak_ptr<bool>(alive_)] {
          if (!alive.expired()) watches->Remove(id);
        });
  }

  Watches* watches_;
  uint64_t id_;
  ApiRequestRef request_;
  ResponderRef responder_;
  ListOptions options_;
  Selection selection_;
  store::WatchCache::WatcherId watcher_ = 0;
  store::Revision not_before_ = 0;
  // Of the bytes that wait for the client; none while its first events, which
  // are as many as the state has, are written.
  std::optional<size_t> ceiling_;
  bool ended_ = false;
  bool columns_sent_ = false;
  Timer end_timer_, last_bookmark_, bookmark_timer_;
  absl::BitGen random_;
  // Gone with this watch, and so with its owner.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

Watches::Watches(Registry* registry, WatchLimits limits)
    : registry_(registry), limits_(limits) {}

Watches::~Watches() {
  for (auto& [id, watch] : watches_) watch->Close();
}

void Watches::Open(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<ListOptions> options = ListOptions::Parse(request->query);
  if (!options.ok()) return SendError(*request, *responder, options.status());
  absl::StatusOr<Selection> selection = ParseSelection(*request);
  if (!selection.ok()) {
    return SendError(*request, *responder, selection.status());
  }
  uint64_t id = next_id_++;
  auto watch = std::make_unique<Watch>(this, id, std::move(request),
                                       std::move(responder),
                                       *std::move(options),
                                       *std::move(selection));
  Watch* started = watch.get();
  watches_.emplace(id, std::move(watch));
  started->Start();
}

void Watches::Remove(uint64_t id) { watches_.erase(id); }

}  // namespace fairlead::api
