// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/spdy/session.h"

#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::spdy {
namespace {

constexpr uint32_t kProtocolBroken = 1;  // of GOAWAY

}  // namespace

absl::Status Session::Receive(std::string_view bytes) {
  reader_.Feed(bytes);
  absl::Status status;
  while (status.ok()) {
    absl::StatusOr<std::optional<Frame>> frame = reader_.Next();
    if (frame.ok() && !*frame) return absl::OkStatus();
    status = frame.ok() ? OnFrame(**frame) : frame.status();
  }
  out_ += GoAwayFrame(last_, kProtocolBroken);
  return status;
}

absl::Status Session::OnFrame(const Frame& frame) {
  switch (frame.type) {
    case FrameType::kSynStream:
      return OnSynStream(frame);
    case FrameType::kPing:
      // Odd ones are the client's; others would be answers to ours.
      if (frame.value % 2 == 1) out_ += PingFrame(frame.value);
      return absl::OkStatus();
    case FrameType::kSynReply:
      return absl::InvalidArgumentError(
          "SPDY: a reply to a stream that was never opened");
    case FrameType::kSettings:
    case FrameType::kGoAway:  // no new streams: the rest goes on
    case FrameType::kWindowUpdate:
      return absl::OkStatus();
    case FrameType::kData:
    case FrameType::kHeaders:
    case FrameType::kRstStream:
      return OnStreamFrame(frame);
  }
  return absl::OkStatus();
}

absl::Status Session::OnSynStream(const Frame& frame) {
  if (frame.stream % 2 == 0 || frame.stream <= last_) {
    return absl::InvalidArgumentError(
        StrCat("SPDY: a stream with the number ", frame.stream, " after ",
               last_));
  }
  last_ = frame.stream;
  const absl::Status admitted =
      open_.size() < kMaxStreams
          ? streams_->OnOpen(frame.stream, frame.headers)
          : absl::ResourceExhaustedError("too many streams");
  if (!admitted.ok()) {
    out_ += RstStreamFrame(frame.stream, ResetStatus::kRefusedStream);
    return absl::OkStatus();
  }
  open_[frame.stream] = {};
  out_ += writer_.SynReply(frame.stream, {});
  if (!frame.fin) return absl::OkStatus();
  open_[frame.stream].client = false;
  streams_->OnFinished(frame.stream);
  ForgetIfOver(frame.stream);
  return absl::OkStatus();
}

absl::Status Session::OnStreamFrame(const Frame& frame) {
  const auto it = open_.find(frame.stream);
  if (it == open_.end()) {
    // Of one that was closed meanwhile, it was on its way.
    if (frame.stream % 2 == 1 && frame.stream <= last_) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat("SPDY: stream ", frame.stream, " was never opened"));
  }
  if (frame.type == FrameType::kRstStream) {
    open_.erase(it);
    streams_->OnReset(frame.stream);
    return absl::OkStatus();
  }
  if (!it->second.client) {
    Reset(frame.stream, ResetStatus::kStreamAlreadyClosed);
    streams_->OnReset(frame.stream);
    return absl::OkStatus();
  }
  if (!frame.data.empty()) streams_->OnData(frame.stream, frame.data);
  // The owner may have reset it for what came.
  if (!frame.fin || !open_.contains(frame.stream)) return absl::OkStatus();
  open_[frame.stream].client = false;
  streams_->OnFinished(frame.stream);
  ForgetIfOver(frame.stream);
  return absl::OkStatus();
}

void Session::Send(uint32_t stream, std::string_view data) {
  const auto it = open_.find(stream);
  if (it == open_.end() || !it->second.ours || data.empty()) return;
  out_ += DataFrame(stream, data, false);
}

void Session::Finish(uint32_t stream) {
  const auto it = open_.find(stream);
  if (it == open_.end() || !std::exchange(it->second.ours, false)) return;
  out_ += DataFrame(stream, "", true);
  ForgetIfOver(stream);
}

void Session::Reset(uint32_t stream, ResetStatus status) {
  if (open_.erase(stream) > 0) out_ += RstStreamFrame(stream, status);
}

void Session::ForgetIfOver(uint32_t stream) {
  const auto it = open_.find(stream);
  if (it != open_.end() && !it->second.client && !it->second.ours)
    open_.erase(it);
}

}  // namespace fairlead::spdy
