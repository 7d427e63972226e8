// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/reflector.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/time/clock.h"
#include "userspace/base/strings.h"
#include "userspace/kube/client.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

// A watch that lived this long counts as a success for the back-off.
constexpr absl::Duration kGoodWatch = absl::Seconds(5);

}  // namespace

class Reflector::Impl {
 public:
  Impl(EventLoop* loop, Transport* transport, ReflectorOptions options,
       ReflectorSink* sink)
      : loop_(loop),
        transport_(transport),
        options_(std::move(options)),
        sink_(sink) {}
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
    request.headers = {{"Accept", "application/json"},
                       {"User-Agent", options_.user_agent}};
    return request;
  }

  void Next() {
    if (version_.empty()) {
      ListPageFrom("");
    } else {
      Watch();
    }
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
      return ListFailed(StatusFromResponse(*response));
    }
    if (!std::exchange(listing_, true)) sink_->ReplaceBegin();
    auto page = DecodeListPage(&response->body, [this](std::string_view item) {
      sink_->OnListed(item);
    });
    if (!page.ok()) return ListFailed(page.status());
    if (!page->continue_token.empty()) {
      return ListPageFrom(page->continue_token);
    }
    if (page->resource_version.empty()) {
      return ListFailed(
          absl::InvalidArgumentError("list: no metadata.resourceVersion"));
    }
    listing_ = false;
    list_whole_ = false;
    version_ = page->resource_version;
    synced_ = true;
    sink_->ReplaceEnd(version_);
    sink_->OnState(absl::OkStatus());
    if (running_) Watch();
  }

  void ListFailed(const absl::Status& status) {
    if (std::exchange(listing_, false)) sink_->ReplaceAbort();
    Retry(status);
  }

  void Watch() {
    ++stats_.watches;
    watch_began_ = absl::Now();
    watch_connected_ = false;
    watch_events_ = 0;
    splitter_ = JsonSplitter();
    // Not all reflectors of all nodes at the same moment.
    absl::Duration timeout =
        options_.watch_timeout * absl::Uniform(random_, 0.8, 1.0);
    int64_t seconds =
        std::max<int64_t>(1, absl::ToInt64Seconds(timeout));
    Request request = MakeRequest(
        StrCat("watch=true&allowWatchBookmarks=true&resourceVersion=",
               version_, "&timeoutSeconds=", seconds));
    error_ = Response();
    StreamCallbacks callbacks;
    callbacks.on_head = [this](const Response& head) {
      error_.status = head.status;
      error_.headers = head.headers;
      watch_connected_ = head.status == 200;
      if (watch_connected_) sink_->OnState(absl::OkStatus());
    };
    callbacks.on_chunk = [this](std::string_view chunk) { OnChunk(chunk); };
    callbacks.on_end = [this](absl::Status status) {
      OnWatchEnd(std::move(status));
    };
    call_ = transport_->Stream(std::move(request), std::move(callbacks));
    ExpectSign();
  }

  // (Re)starts the wait for the next sign of life.
  void ExpectSign() {
    silence_ = loop_->After(options_.watch_timeout * 1.5, [this] {
      call_.reset();
      OnWatchEnd(absl::DeadlineExceededError("watch: silent for too long"));
    });
  }

  void OnChunk(std::string_view chunk) {
    if (!watch_connected_) {
      if (error_.body.size() < 64 * 1024) error_.body.append(chunk);
      return;
    }
    absl::Status status = splitter_.Feed(
        chunk, [this](std::string_view text) { return OnFrame(text); });
    if (!status.ok() && call_ != nullptr) {
      call_.reset();
      OnWatchEnd(status);
    }
  }

  // False once the watch has been given up.
  bool OnFrame(std::string_view text) {
    auto frame = DecodeWatchFrame(text);
    if (!frame.ok()) {
      GiveUpWatch(frame.status());
      return false;
    }
    if (frame->type == "ERROR") {
      Response error;
      error.status = StatusCodeOf(frame->object);
      error.body = std::string(frame->object);
      if (error.status == 0) error.status = 500;
      GiveUpWatch(StatusFromResponse(error));
      return false;
    }
    // Without a version there is nothing to resume from: start over.
    auto version = ResourceVersionOf(frame->object);
    if (!version.ok()) {
      version_.clear();
      GiveUpWatch(version.status());
      return false;
    }
    ++watch_events_;
    ExpectSign();
    if (frame->type == "BOOKMARK") {
      ++stats_.bookmarks;
    } else if (frame->type == "ADDED") {
      Event(WatchEvent::kAdded, frame->object);
    } else if (frame->type == "MODIFIED") {
      Event(WatchEvent::kModified, frame->object);
    } else if (frame->type == "DELETED") {
      Event(WatchEvent::kDeleted, frame->object);
    }
    version_ = *std::move(version);
    return running_ && call_ != nullptr;
  }

  void Event(WatchEvent event, std::string_view object) {
    ++stats_.events;
    sink_->OnEvent(event, object);
  }

  void GiveUpWatch(absl::Status status) {
    call_.reset();
    OnWatchEnd(std::move(status));
  }

  void OnWatchEnd(absl::Status status) {
    std::unique_ptr<Call> done_with = std::move(call_);
    silence_.Cancel();
    bool good = watch_connected_ &&
                (watch_events_ > 0 || absl::Now() - watch_began_ > kGoodWatch);
    if (good) failures_ = 0;
    if (status.ok() && error_.status != 200) {
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
      delay = std::max(delay, std::min(*error->retry_after,
                                       options_.max_backoff));
    }
    timer_ = loop_->After(delay, [this] { Next(); });
    sink_->OnState(status);
  }

  EventLoop* loop_;
  Transport* transport_;
  ReflectorOptions options_;
  ReflectorSink* sink_;
  bool running_ = false;
  bool listing_ = false;     // between ReplaceBegin and ReplaceEnd
  bool list_whole_ = false;  // pages failed: the next list without a limit
  int failures_ = 0;
  absl::InsecureBitGen random_;

  std::unique_ptr<Call> call_;
  Timer timer_;
  Timer silence_;
  JsonSplitter splitter_;
  Response error_;  // a watch's head; its body only if it isn't 200
  bool watch_connected_ = false;
  uint64_t watch_events_ = 0;
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
