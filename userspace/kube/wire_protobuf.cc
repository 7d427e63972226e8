// SPDX-License-Identifier: Apache-2.0
// wire.h for protobuf. Only the outermost fields are cut here; what is inside
// an object is left to who wants it.
#include <utility>

#include "k8s.pb.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/protobuf_fields.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

constexpr std::string_view kMagic("k8s\0", 4);
constexpr size_t kLengthBytes = 4;
// What an idle stream may keep.
constexpr size_t kKeepBytes = 64 * 1024;

absl::Status Corrupt(std::string_view what) {
  return absl::InvalidArgumentError(
      StrCat(what, ": protobuf is cut off or corrupt"));
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
                        [&](const ProtobufField& field) {
                          if (field.number == 1) type = field.bytes;
                          if (field.number == 2) envelope.raw = field.bytes;
                        });
  good = good && EachField(type, [&](const ProtobufField& field) {
           if (field.number == 2) envelope.kind = field.bytes;
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
  bool good = EachField(envelope.raw, [&](const ProtobufField& field) {
    if (field.number == 1) {
      pb::ListMeta meta;
      good_meta = Parse(field.bytes, &meta);
      page.resource_version = meta.resource_version();
      page.continue_token = meta.continue_();
    } else if (field.number == 2) {
      ++page.items;
      on_item(field.bytes);
    }
  });
  if (!good || !good_meta) return Corrupt("list");
  return page;
}

absl::StatusOr<WatchFrame> DecodeProtobufWatchFrame(std::string_view bytes) {
  WatchFrame frame;
  frame.object.encoding = Encoding::kProtobuf;
  std::string_view object;
  bool good = EachField(bytes, [&](const ProtobufField& field) {
    if (field.number == 1) frame.type = field.bytes;
    if (field.number == 2) object = field.bytes;
  });
  good = good && EachField(object, [&](const ProtobufField& field) {
           if (field.number == 1) frame.whole = field.bytes;
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
  // Of each event there is: only what is asked for is read.
  ObjectHead head;
  head.kind = frame.kind;
  std::string_view meta;
  bool good = EachField(frame.object.bytes, [&](const ProtobufField& field) {
    if (field.number == pb::AnyObject::kMetadataFieldNumber) meta = field.bytes;
  });
  good = good && EachField(meta, [&](const ProtobufField& field) {
           if (field.number == pb::ObjectMeta::kResourceVersionFieldNumber) {
             head.resource_version = field.bytes;
           } else if (field.number ==
                      pb::ObjectMeta::kAnnotationsFieldNumber) {
             pb::Entry entry;
             head.ends_initial_events =
                 head.ends_initial_events ||
                 (frame.type == "BOOKMARK" && Parse(field.bytes, &entry) &&
                  entry.key() == kInitialEventsEnd && entry.value() == "true");
           }
         });
  if (!good) return Corrupt("watch event");
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
