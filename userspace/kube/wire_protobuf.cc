// SPDX-License-Identifier: Apache-2.0
// wire.h for protobuf. Only the outermost fields are cut here; what is inside
// an object is left to who wants it.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <utility>

#include "k8s.pb.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr std::string_view kMagic("k8s\0", 4);
constexpr size_t kLengthBytes = 4;
// What an idle stream may keep.
constexpr size_t kKeepBytes = 64 * 1024;

absl::Status Corrupt(std::string_view what) {
  return absl::InvalidArgumentError(
      StrCat(what, ": protobuf is cut off or corrupt"));
}

// Calls `fn(number, bytes)` for each field that has a length; skips others.
template <typename Fn>
bool EachField(std::string_view message, Fn fn) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                      static_cast<int>(message.size()));
  while (uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagWireType(tag) !=
        WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    uint32_t length = 0;
    if (!in.ReadVarint32(&length)) return false;
    const size_t at = in.CurrentPosition();
    if (length > message.size() - at) return false;
    if (!in.Skip(static_cast<int>(length))) return false;
    fn(WireFormatLite::GetTagFieldNumber(tag), message.substr(at, length));
  }
  // A tag of 0 ends a stream at its end only.
  return in.ConsumedEntireMessage() &&
         static_cast<size_t>(in.CurrentPosition()) == message.size();
}

// k8s\0 and runtime.Unknown {1: TypeMeta {1: apiVersion, 2: kind}, 2: raw}.
struct Envelope {
  std::string_view kind;
  std::string_view raw;
};

absl::StatusOr<Envelope> Unwrap(std::string_view what, std::string_view bytes) {
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError(
        StrCat(what, ": does not begin as Kubernetes protobuf does"));
  }
  Envelope envelope;
  std::string_view type;
  bool good = EachField(bytes.substr(kMagic.size()),
                        [&](int number, std::string_view field) {
                          if (number == 1) type = field;
                          if (number == 2) envelope.raw = field;
                        });
  good = good && EachField(type, [&](int number, std::string_view field) {
           if (number == 2) envelope.kind = field;
         });
  if (!good || envelope.kind.empty() || envelope.raw.empty()) {
    return Corrupt(what);
  }
  return envelope;
}

bool Parse(std::string_view bytes, google::protobuf::MessageLite* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

}  // namespace

absl::Status ProtobufSplitter::Feed(
    std::string_view chunk,
    const std::function<bool(std::string_view)>& on_frame) {
  buffer_.append(chunk);
  size_t at = 0;
  while (buffer_.size() - at >= kLengthBytes) {
    size_t length = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) {
      length = length << 8 | static_cast<uint8_t>(buffer_[at + i]);
    }
    if (length > max_frame_bytes_) {
      return absl::ResourceExhaustedError(
          StrCat("watch: a frame of ", length,
                 " bytes is too large, or the stream is not protobuf"));
    }
    if (buffer_.size() - at < kLengthBytes + length) break;
    std::string_view frame(buffer_.data() + at + kLengthBytes, length);
    if (!on_frame(frame)) return absl::OkStatus();
    at += kLengthBytes + length;
  }
  buffer_.erase(0, at);
  if (buffer_.empty() && buffer_.capacity() > kKeepBytes) {
    std::string().swap(buffer_);
  }
  return absl::OkStatus();
}

absl::StatusOr<ListPage> DecodeProtobufListPage(
    std::string_view body,
    const std::function<void(std::string_view)>& on_item) {
  FL_ASSIGN_OR_RETURN(Envelope envelope, Unwrap("list", body));
  ListPage page;
  bool good_meta = true;
  // ListMeta comes first, then the items.
  bool good = EachField(envelope.raw, [&](int number, std::string_view field) {
    if (number == 1) {
      pb::ListMeta meta;
      good_meta = Parse(field, &meta);
      page.resource_version = meta.resource_version();
      page.continue_token = meta.continue_();
    } else if (number == 2) {
      ++page.items;
      on_item(field);
    }
  });
  if (!good || !good_meta) return Corrupt("list");
  return page;
}

absl::StatusOr<WatchFrame> DecodeProtobufWatchFrame(std::string_view bytes) {
  WatchFrame frame;
  frame.object.encoding = Encoding::kProtobuf;
  std::string_view object;
  bool good = EachField(bytes, [&](int number, std::string_view field) {
    if (number == 1) frame.type = field;
    if (number == 2) object = field;
  });
  good = good && EachField(object, [&](int number, std::string_view field) {
           if (number == 1) frame.whole = field;
         });
  if (!good) return Corrupt("watch event");
  if (frame.type.empty() || frame.whole.empty()) {
    return absl::InvalidArgumentError("watch event: no type or no object");
  }
  FL_ASSIGN_OR_RETURN(Envelope envelope, Unwrap("watch event", frame.whole));
  frame.kind = envelope.kind;
  frame.object.bytes = envelope.raw;
  return frame;
}

absl::StatusOr<ObjectHead> ProtobufHeadOf(const WatchFrame& frame) {
  pb::ObjectMeta meta;
  bool good_meta = true;
  bool good =
      EachField(frame.object.bytes, [&](int number, std::string_view field) {
        if (number == 1) good_meta = Parse(field, &meta);
      });
  if (!good || !good_meta) return Corrupt("watch event");
  ObjectHead head;
  head.kind = frame.kind;
  head.resource_version = meta.resource_version();
  for (const pb::Entry& entry : meta.annotations()) {
    head.ends_initial_events =
        head.ends_initial_events ||
        (entry.key() == kInitialEventsEnd && entry.value() == "true");
  }
  return head;
}

std::optional<ApiStatus> DecodeProtobufStatus(std::string_view body) {
  auto envelope = Unwrap("status", body);
  pb::Status status;
  if (!envelope.ok() || envelope->kind != "Status" ||
      !Parse(envelope->raw, &status)) {
    return std::nullopt;
  }
  return ApiStatus{.code = status.code(),
                   .message = status.message(),
                   .reason = status.reason(),
                   .retry_after_seconds =
                       status.details().retry_after_seconds()};
}

}  // namespace fairlead::kube
