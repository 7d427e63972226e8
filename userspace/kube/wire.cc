// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/wire.h"

#include <simdjson.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

namespace ondemand = simdjson::ondemand;

static_assert(simdjson::SIMDJSON_PADDING <= 64, "as wire.h promises");
constexpr size_t kPadding = 64;
// What an idle stream may keep.
constexpr size_t kKeepBytes = 64 * 1024;

absl::Status BadJson(std::string_view what, simdjson::error_code error) {
  return absl::InvalidArgumentError(
      StrCat(what, ": ", simdjson::error_message(error)));
}

// Parsers keep their index buffers: one per thread saves an allocation per
// object.
ondemand::parser& OuterParser() {
  static thread_local ondemand::parser parser;
  return parser;
}

simdjson::padded_string_view Padded(std::string_view text) {
  return simdjson::padded_string_view(text, text.size() + kPadding);
}

}  // namespace

absl::StatusOr<Encoding> EncodingOf(std::string_view content_type) {
  absl::string_view type = absl::StripAsciiWhitespace(
      Absl(content_type.substr(0, content_type.find(';'))));
  if (type.empty() || absl::EqualsIgnoreCase(type, kJsonType)) {
    return Encoding::kJson;
  }
  if (absl::EqualsIgnoreCase(type, kProtobufType)) return Encoding::kProtobuf;
  return absl::InvalidArgumentError(
      StrCat("the answer's Content-Type is \"", content_type.substr(0, 100),
             "\", neither JSON nor Kubernetes' protobuf; is this an API "
             "server?"));
}

absl::Status JsonSplitter::Feed(
    std::string_view chunk,
    const std::function<bool(std::string_view)>& on_object) {
  buffer_.reserve(buffer_.size() + chunk.size() + kPadding);
  buffer_.append(chunk);
  size_t handed_out = 0;
  for (size_t i = scanned_; i < buffer_.size(); ++i) {
    char c = buffer_[i];
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (depth_ == 0) {
      if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
      if (c != '{') {
        return absl::InvalidArgumentError("the stream is not JSON objects");
      }
      start_ = i;
      depth_ = 1;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      if (--depth_ > 0) continue;
      std::string_view text(buffer_.data() + start_, i + 1 - start_);
      handed_out = i + 1;
      if (!on_object(text)) return absl::OkStatus();
    }
  }
  buffer_.erase(0, handed_out);
  scanned_ = buffer_.size();
  start_ -= std::min(start_, handed_out);
  if (depth_ == 0) {
    buffer_.clear();
    scanned_ = 0;
    if (buffer_.capacity() > kKeepBytes) std::string().swap(buffer_);
  }
  if (buffer_.size() > max_object_bytes_) {
    return absl::ResourceExhaustedError("an object of the stream is too large");
  }
  return absl::OkStatus();
}

absl::StatusOr<ListPage> DecodeListPage(
    std::string* body, const std::function<void(std::string_view)>& on_item) {
  body->reserve(body->size() + kPadding);
  ListPage page;
  ondemand::parser parser;  // its index grows with the page: not kept
  ondemand::document document;
  ondemand::object root;
  if (auto e = parser.iterate(Padded(*body)).get(document)) {
    return BadJson("list", e);
  }
  if (auto e = document.get_object().get(root)) return BadJson("list", e);
  bool has_items = false;
  for (auto field : root) {
    std::string_view key;
    if (auto e = field.unescaped_key().get(key)) return BadJson("list", e);
    if (key == "metadata") {
      ondemand::object metadata;
      if (auto e = field.value().get_object().get(metadata)) {
        return BadJson("list metadata", e);
      }
      for (auto meta : metadata) {
        std::string_view name, value;
        if (auto e = meta.unescaped_key().get(name)) {
          return BadJson("list metadata", e);
        }
        if (name != "resourceVersion" && name != "continue") continue;
        if (auto e = meta.value().get_string().get(value)) {
          return BadJson("list metadata", e);
        }
        (name == "continue" ? page.continue_token : page.resource_version) =
            std::string(value);
      }
    } else if (key == "items") {
      has_items = true;
      ondemand::value value;
      if (auto e = field.value().get(value)) return BadJson("items", e);
      bool null = false;
      if (auto e = value.is_null().get(null)) return BadJson("items", e);
      if (null) continue;
      ondemand::array items;
      if (auto e = value.get_array().get(items)) return BadJson("items", e);
      for (auto item : items) {
        ondemand::object object;
        std::string_view text;
        if (auto e = item.get_object().get(object)) return BadJson("item", e);
        if (auto e = object.raw_json().get(text)) return BadJson("item", e);
        ++page.items;
        on_item(text);
      }
    }
  }
  if (!has_items) return absl::InvalidArgumentError("list: no items");
  return page;
}

absl::StatusOr<WatchFrame> DecodeWatchFrame(std::string_view text) {
  ondemand::parser& parser = OuterParser();
  ondemand::document document;
  ondemand::object root;
  WatchFrame frame;
  if (auto e = parser.iterate(Padded(text)).get(document)) {
    return BadJson("watch event", e);
  }
  if (auto e = document.get_object().get(root)) {
    return BadJson("watch event", e);
  }
  for (auto field : root) {
    std::string_view key;
    if (auto e = field.unescaped_key().get(key)) {
      return BadJson("watch event", e);
    }
    if (key == "type") {
      // Without escapes, and so a view into the frame itself.
      std::string_view token;
      if (auto e = field.value().raw_json_token().get(token)) {
        return BadJson("watch event type", e);
      }
      size_t end = token.size() < 2 ? token.npos : token.find('"', 1);
      if (end == token.npos || token[0] != '"') {
        return absl::InvalidArgumentError("watch event type: not a string");
      }
      frame.type = token.substr(1, end - 1);
    } else if (key == "object") {
      ondemand::object object;
      if (auto e = field.value().get_object().get(object)) {
        return BadJson("watch event object", e);
      }
      if (auto e = object.raw_json().get(frame.whole)) {
        return BadJson("watch event object", e);
      }
      frame.object.bytes = frame.whole;
    }
  }
  if (frame.type.empty() || frame.whole.empty()) {
    return absl::InvalidArgumentError("watch event: no type or no object");
  }
  return frame;
}

absl::StatusOr<ObjectHead> HeadOf(const WatchFrame& frame) {
  if (frame.object.encoding == Encoding::kProtobuf) {
    return ProtobufHeadOf(frame);
  }
  ondemand::document document;
  if (auto e = OuterParser().iterate(Padded(frame.whole)).get(document)) {
    return BadJson("object", e);
  }
  // A member that is absent is left empty; one of another type too. After any
  // other error the parser has lost its place: to go on would crash it.
  auto is_lost = [](simdjson::error_code e) {
    return e && e != simdjson::NO_SUCH_FIELD && e != simdjson::INCORRECT_TYPE;
  };
  auto read = [](auto value, std::string* out) {
    std::string_view found;
    const simdjson::error_code e = value.get_string().get(found);
    if (!e) *out = std::string(found);
    return e;
  };
  ObjectHead head;
  if (auto e = read(document["kind"], &head.kind); is_lost(e)) {
    return BadJson("object", e);
  }
  ondemand::object metadata;
  if (auto e = document["metadata"].get_object().get(metadata)) {
    if (is_lost(e)) return BadJson("object", e);
    return head;
  }
  if (auto e = read(metadata["resourceVersion"], &head.resource_version);
      is_lost(e)) {
    return BadJson("object", e);
  }
  ondemand::object annotations;
  if (auto e = metadata["annotations"].get_object().get(annotations)) {
    if (is_lost(e)) return BadJson("object", e);
    return head;
  }
  std::string ends;
  if (auto e = read(annotations[kInitialEventsEnd], &ends); is_lost(e)) {
    return BadJson("object", e);
  }
  head.ends_initial_events = ends == "true";
  return head;
}

}  // namespace fairlead::kube
