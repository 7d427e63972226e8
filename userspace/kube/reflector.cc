// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/reflector.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "userspace/base/clock.h"
#include "userspace/base/strings.h"
#include "userspace/kube/client.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

// A watch that lived this long counts as a success for the back-off.
constexpr absl::Duration kGoodWatch = absl::Seconds(5);
// A server that asks for more is asked again after this long.
constexpr absl::Duration kMaxRetryAfter = absl::Minutes(5);

// Both are decimal, and `a` is the smaller number.
bool IsOlder(const std::string& a, const std::string& b) {
  uint64_t x = 0, y = 0;
  return absl::SimpleAtoi(a, &x) && absl::SimpleAtoi(b, &y) && x < y;
}

// An event that waits for the end of a streamed list.
struct Deferred {
  WatchEvent event;
  Encoding encoding;
  std::string bytes;  // with simdjson's padding reserved
};

}  // namespace

class Reflector::Impl {
 public:
  Impl(EventLoop* loop, Transport* transport, ReflectorOptions options,
       ReflectorSink* sink)
      : loop_(loop),
        transport_(transport),
        options_(std::move(options)),
        sink_(sink),
        protobuf_(options_.protobuf),
        stream_list_(options_.streamed_list) {}
  ~Impl() { Stop(); }

  void Start() {
    loop_->DCheckInLoop();
    if (running_) return;
    running_ = true;
    // From the loop, as all later steps are.
    timer_ = loop_->After(absl::ZeroDuration(), [this] { Next(); });
  }

  void Stop() {
    running_ = false;
    timer_.Cancel();
    silence_.Cancel();
    list_end_.Cancel();
    call_.reset();
    if (std::exchange(listing_, false)) sink_->ReplaceAbort();
  }

  bool synced_ = false;
  std::string version_;
  Stats stats_;

 private:
  std::string Target(std::string_view query) const {
    std::string target = options_.resource.Path(options_.ns, "");
    char separator = '?';
    auto add = [&](std::string_view key, std::string_view value) {
      if (value.empty()) return;
      target.push_back(separator);
      separator = '&';
      target.append(key);
      target.push_back('=');
      AppendPercentEncoded(&target, value);
    };
    add("labelSelector", options_.label_selector);
    add("fieldSelector", options_.field_selector);
    target.push_back(separator);
    target.append(query);
    return target;
  }

  Request MakeRequest(std::string_view query) const {
    Request request;
    request.target = Target(query);
    request.headers = {{"Accept", protobuf_ ? StrCat(kProtobufType, ", ",
                                                     kJsonType)
                                            : kJsonType},
                       {"User-Agent", options_.user_agent}};
    return request;
  }

  void Next() {
    if (!version_.empty() || stream_list_) {
      Watch();
    } else {
      ListPageFrom("");
    }
  }

  // A 406 or 415: does it leave JSON to be tried?
  bool FallBackToJson(int http_status) {
    if (http_status != 406 && http_status != 415) return false;
    return std::exchange(protobuf_, false);
  }

  void ListPageFrom(const std::string& token) {
    std::string query;
    if (options_.page_size > 0 && !list_whole_) {
      StrAppend(&query, "limit=", options_.page_size);
    } else {
      query = "limit=0";
    }
    if (!token.empty()) {
      query += "&continue=";
      AppendPercentEncoded(&query, token);
    } else {
      ++stats_.lists;
    }
    call_ = transport_->Do(
        MakeRequest(query), [this](absl::StatusOr<Response> response) {
          OnPage(std::move(response));
        });
  }

  void OnPage(absl::StatusOr<Response> response) {
    std::unique_ptr<Call> done_with = std::move(call_);
    if (!response.ok()) return ListFailed(response.status());
    if (response->status != 200) {
      // The continue token grew too old on a slow, large list.
      if (response->status == 410 && listing_) list_whole_ = true;
      if (!listing_ && FallBackToJson(response->status)) return Next();
      return ListFailed(StatusFromResponse(*response));
    }
    auto encoding = EncodingOf(response->Header("Content-Type"));
    if (!encoding.ok()) return ListFailed(encoding.status());
    if (!std::exchange(listing_, true)) sink_->ReplaceBegin();
    auto each = [&](std::string_view item) {
      sink_->OnListed({*encoding, item});
    };
    auto page = *encoding == Encoding::kProtobuf
                    ? DecodeProtobufListPage(response->body, each)
                    : DecodeListPage(&response->body, each);
    if (!page.ok()) return ListFailed(page.status());
    if (!page->continue_token.empty()) {
      return ListPageFrom(page->continue_token);
    }
    if (page->resource_version.empty()) {
      return ListFailed(
          absl::InvalidArgumentError("list: no metadata.resourceVersion"));
    }
    list_whole_ = false;
    ListIsWhole(page->resource_version);
    if (running_) Watch();
  }

  void ListIsWhole(const std::string& version) {
    listing_ = false;
    list_end_.Cancel();
    version_ = version;
    synced_ = true;
    sink_->ReplaceEnd(version_);
    sink_->OnState(absl::OkStatus());
  }

  void ListFailed(const absl::Status& status) {
    if (std::exchange(listing_, false)) sink_->ReplaceAbort();
    Retry(status);
  }

  // From version_; without one, a streamed list comes first.
  void Watch() {
    ++(version_.empty() ? stats_.lists : stats_.watches);
    watch_began_ = absl::Now();
    watch_connected_ = false;
    watch_events_ = 0;
    deferred_.clear();
    list_end_due_ = false;
    json_ = JsonSplitter();
    protobuf_frames_ = ProtobufSplitter();
    // Not all reflectors of all nodes at the same moment.
    absl::Duration timeout =
        options_.watch_timeout * absl::Uniform(random_, 0.8, 1.0);
    int64_t seconds =
        std::max<int64_t>(1, absl::ToInt64Seconds(timeout));
    Request request = MakeRequest(StrCat(
        "watch=true&allowWatchBookmarks=true&",
        version_.empty()
            ? "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            : StrCat("resourceVersion=", version_),
        "&timeoutSeconds=", seconds));
    error_ = Response();
    StreamCallbacks callbacks;
    callbacks.on_head = [this](const Response& head) { OnHead(head); };
    callbacks.on_chunk = [this](std::string_view chunk) { OnChunk(chunk); };
    if (options_.objects) {
      callbacks.on_object = [this](const WatchedObject& o) { OnObject(o); };
    }
    callbacks.on_end = [this](absl::Status status) {
      OnWatchEnd(std::move(status));
    };
    call_ = transport_->Stream(std::move(request), std::move(callbacks));
    ExpectSign();
  }

  void OnHead(const Response& head) {
    error_.status = head.status;
    error_.headers = head.headers;
    if (head.status != 200) return;
    auto encoding = EncodingOf(head.Header("Content-Type"));
    if (!encoding.ok()) return GiveUpWatch(encoding.status());
    encoding_ = *encoding;
    watch_connected_ = true;
    if (version_.empty()) {
      listing_ = true;
      sink_->ReplaceBegin();
      ExpectListEnd();
    } else {
      sink_->OnState(absl::OkStatus());
    }
  }

  // (Re)starts the wait for the next sign of life.
  void ExpectSign() {
    if (listing_) ExpectListEnd();
    const bool stalled = partial();
    // Not a timer for each event: the one that runs looks how long it has been.
    sign_at_ = Clock::Real().Monotonic();
    if (silence_.pending() && stalled == stall_expected_) return;
    stall_expected_ = stalled;
    AwaitSilence();
  }

  void AwaitSilence() {
    const absl::Duration limit = stall_expected_ ? options_.stall_timeout
                                                 : options_.watch_timeout * 1.5;
    const absl::Duration left =
        sign_at_ + limit - Clock::Real().Monotonic();
    if (left <= absl::ZeroDuration()) return Silent();
    silence_ = loop_->After(left, [this] { AwaitSilence(); });
  }

  void Silent() {
    GiveUpWatch(absl::DeadlineExceededError(
        stall_expected_ ? "watch: stalled in the middle of an object"
                        : "watch: silent for too long"));
  }

  // Objects may go on arriving for long: the wait for more of them, or for the
  // end, starts again with each.
  void ExpectListEnd() {
    if (list_end_due_) return;
    if (partial()) return list_end_.Cancel();  // silence_ is for that
    list_end_ = loop_->After(options_.list_end_timeout,
                             [this] { ListHasNoEnd(); });
  }

  // Something else than the objects has come: what came before was all.
  void ListEndIsDue() {
    if (std::exchange(list_end_due_, true)) return;
    list_end_ = loop_->After(options_.list_end_timeout,
                             [this] { ListHasNoEnd(); });
  }

  void ListHasNoEnd() {
    stream_list_ = false;
    GiveUpWatch(absl::UnimplementedError(
        "list: the server doesn't end a streamed list; asking for pages"));
  }

  bool partial() const {
    return encoding_ == Encoding::kJson ? json_.partial()
                                        : protobuf_frames_.partial();
  }

  void OnChunk(std::string_view chunk) {
    if (!watch_connected_) {
      if (error_.body.size() < 64 * 1024) error_.body.append(chunk);
      return;
    }
    auto each = [this](std::string_view bytes) { return OnFrame(bytes); };
    absl::Status status = encoding_ == Encoding::kJson
                              ? json_.Feed(chunk, each)
                              : protobuf_frames_.Feed(chunk, each);
    if (call_ == nullptr) return;  // given up, or stopped
    if (!status.ok()) {
      RefuseBytes(status);
      return;
    }
    ExpectSign();
  }

  void OnObject(const WatchedObject& object) {
    if (!watch_connected_) return;
    ++watch_events_;
    if (IsOlder(object.resource_version, version_)) {
      Ignore(TooOld(object.resource_version));
    } else {
      ++stats_.events;
      version_ = object.resource_version;
      sink_->OnObject(object.type == "DELETED" ? WatchEvent::kDeleted
                      : object.type == "ADDED" ? WatchEvent::kAdded
                                               : WatchEvent::kModified,
                      object);
    }
    if (call_ != nullptr) ExpectSign();
  }

  std::string TooOld(std::string_view version) const {
    return StrCat("an event of version ", version, " came after version ",
                  version_);
  }

  // False once the watch has been given up.
  bool OnFrame(std::string_view bytes) {
    auto frame = encoding_ == Encoding::kJson ? DecodeWatchFrame(bytes)
                                              : DecodeProtobufWatchFrame(bytes);
    if (!frame.ok()) return RefuseBytes(frame.status());
    if (frame->type == "ERROR") {
      Response error;
      error.body = std::string(frame->whole);
      return Refuse(StatusFromResponse(error));
    }
    auto head = HeadOf(*frame);
    if (!head.ok()) return RefuseBytes(head.status());
    // Without a version there is nothing to resume from: start over.
    if (head->resource_version.empty()) {
      version_.clear();
      return Refuse(absl::InvalidArgumentError(
          "watch: an object without metadata.resourceVersion"));
    }
    ++watch_events_;
    if (!head->kind.empty() && head->kind != options_.resource.kind) {
      Ignore(StrCat("an object of kind ", head->kind, " among ",
                    options_.resource.plural));
      return true;
    }
    if (!listing_ && IsOlder(head->resource_version, version_)) {
      Ignore(TooOld(head->resource_version));
      return true;
    }
    Take(*frame, *head);
    return running_ && call_ != nullptr;
  }

  void Take(const WatchFrame& frame, const ObjectHead& head) {
    if (frame.type == "BOOKMARK") {
      ++stats_.bookmarks;
      if (listing_ && head.ends_initial_events) {
        EndStreamedList(head);
      } else if (listing_) {
        ListEndIsDue();
      }
    } else if (frame.type == "ADDED") {
      Event(WatchEvent::kAdded, frame.object);
    } else if (frame.type == "MODIFIED") {
      Event(WatchEvent::kModified, frame.object);
    } else if (frame.type == "DELETED") {
      Event(WatchEvent::kDeleted, frame.object);
    } else {
      return Ignore(StrCat("an event of unknown type ",
                           frame.type.substr(0, 50)));
    }
    if (!listing_) version_ = head.resource_version;
  }

  void Ignore(const std::string& why) {
    ++stats_.ignored;
    sink_->OnIgnored(why);
  }

  // Nobody can read this event. It may have been garbled on its way; if it comes
  // a second time behind the same version, it is so at the server, and only a
  // list leads past it.
  bool RefuseBytes(absl::Status status) {
    const std::string before = std::exchange(refused_at_, version_);
    if (version_ == before) version_.clear();
    return Refuse(std::move(status));
  }

  bool Refuse(absl::Status status) {
    GiveUpWatch(std::move(status));
    return false;
  }

  void Event(WatchEvent event, const EncodedObject& object) {
    if (!listing_) {
      ++stats_.events;
      sink_->OnEvent(event, object);
      return;
    }
    if (event != WatchEvent::kAdded) ListEndIsDue();
    if (event != WatchEvent::kDeleted && deferred_.empty()) {
      sink_->OnListed(object);
    } else {
      // A change while the list was under way; a list can't take one back.
      Deferred later{event, object.encoding, {}};
      later.bytes.reserve(object.bytes.size() + 64);
      later.bytes = object.bytes;
      deferred_.push_back(std::move(later));
    }
  }

  void EndStreamedList(const ObjectHead& head) {
    std::vector<Deferred> deferred = std::exchange(deferred_, {});
    ListIsWhole(head.resource_version);
    for (const Deferred& later : deferred) {
      Event(later.event, {later.encoding, later.bytes});
    }
  }

  void GiveUpWatch(absl::Status status) {
    call_.reset();
    OnWatchEnd(std::move(status));
  }

  void OnWatchEnd(absl::Status status) {
    std::unique_ptr<Call> done_with = std::move(call_);
    silence_.Cancel();
    list_end_.Cancel();
    const bool listing = std::exchange(listing_, false);
    if (listing) {
      sink_->ReplaceAbort();
      if (status.ok()) {
        stream_list_ = false;
        status = absl::UnavailableError("list: the stream ended early");
      }
    }
    bool good = watch_connected_ && !listing &&
                (watch_events_ > 0 || absl::Now() - watch_began_ > kGoodWatch);
    if (good) failures_ = 0;
    if (status.ok() && error_.status != 200) {
      if (FallBackToJson(error_.status)) return Next();
      // The server is too old for a streamed list, or was told not to.
      const bool refused = error_.status == 400 || error_.status == 422;
      if (version_.empty() && refused && std::exchange(stream_list_, false)) {
        return Next();
      }
      status = StatusFromResponse(error_);
    }
    if (absl::IsOutOfRange(status)) version_.clear();  // 410: list again
    if (status.ok() && good) {
      // The server's own time limit: nothing is wrong.
      timer_ = loop_->After(absl::ZeroDuration(), [this] { Next(); });
      return;
    }
    Retry(status.ok() ? absl::UnavailableError("watch: ended at once")
                      : status);
  }

  void Retry(const absl::Status& status) {
    ++stats_.errors;
    absl::Duration delay =
        options_.min_backoff * (1 << std::min(failures_++, 16));
    delay = std::min(delay, options_.max_backoff) *
            absl::Uniform(random_, 0.5, 1.5);
    if (auto error = ApiErrorOf(status);
        error.has_value() && error->retry_after.has_value()) {
      delay = std::max(delay, std::min(*error->retry_after, kMaxRetryAfter));
    }
    timer_ = loop_->After(delay, [this] { Next(); });
    sink_->OnState(status);
  }

  EventLoop* loop_;
  Transport* transport_;
  ReflectorOptions options_;
  ReflectorSink* sink_;
  bool running_ = false;
  bool listing_ = false;  // between ReplaceBegin and ReplaceEnd or Abort
  bool list_whole_ = false;  // pages failed: the next list without a limit
  int failures_ = 0;
  absl::InsecureBitGen random_;

  std::unique_ptr<Call> call_;
  Timer timer_;
  Timer silence_;
  bool stall_expected_ = false;  // what silence_ waits for
  absl::Duration sign_at_;       // the last sign of life
  Timer list_end_;             // of a streamed list
  bool list_end_due_ = false;  // list_end_ doesn't start again
  bool protobuf_;     // ask for it
  bool stream_list_;  // ask for it
  Encoding encoding_ = Encoding::kJson;  // of the watch
  JsonSplitter json_;
  ProtobufSplitter protobuf_frames_;
  std::vector<Deferred> deferred_;
  Response error_;  // a watch's head; its body only if it isn't 200
  bool watch_connected_ = false;
  uint64_t watch_events_ = 0;
  std::string refused_at_;  // the version before bytes that can't be read
  absl::Time watch_began_;
};

Reflector::Reflector(EventLoop* loop, Transport* transport,
                     ReflectorOptions options, ReflectorSink* sink)
    : impl_(std::make_unique<Impl>(loop, transport, std::move(options),
                                   sink)) {}
Reflector::~Reflector() = default;
void Reflector::Start() { impl_->Start(); }
void Reflector::Stop() { impl_->Stop(); }
bool Reflector::has_synced() const { return impl_->synced_; }
const std::string& Reflector::resource_version() const {
  return impl_->version_;
}
const Reflector::Stats& Reflector::stats() const { return impl_->stats_; }

}  // namespace fairlead::kube
