// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/spdy/frames.h"

#include <arpa/inet.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::spdy {
namespace {

constexpr uint32_t kControlBit = 0x80000000;
constexpr uint32_t kVersion = 3;
constexpr uint8_t kFin = 1;
constexpr size_t kHead = 8;

absl::Status Broken(std::string_view what) {
  return absl::InvalidArgumentError(StrCat("SPDY: ", what));
}

uint32_t Load32(std::string_view bytes, size_t at) {
  uint32_t value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return ntohl(value);
}

std::string Bytes32(uint32_t value) {
  const uint32_t wire = htonl(value);
  return std::string(reinterpret_cast<const char*>(&wire), sizeof(wire));
}

Bytef* ZlibBytes(const char* bytes) {
  // zlib doesn't write there.
  return reinterpret_cast<Bytef*>(const_cast<char*>(bytes));
}

std::string ControlFrame(FrameType type, std::string_view content) {
  return StrCat(Bytes32(kControlBit | kVersion << 16 |
                        static_cast<uint32_t>(type)),
                Bytes32(static_cast<uint32_t>(content.size())), content);
}

// An unpacked header block.
absl::StatusOr<Headers> ParseHeaders(std::string_view block) {
  auto number = [&](uint32_t* value) {
    if (block.size() < 4) return false;
    *value = Load32(block, 0);
    block.remove_prefix(4);
    return true;
  };
  auto text = [&](std::string* value) {
    uint32_t length = 0;
    if (!number(&length) || length > block.size()) return false;
    *value = block.substr(0, length);
    block.remove_prefix(length);
    return true;
  };
  Headers headers;
  uint32_t count = 0;
  if (!number(&count)) return Broken("a header block without a count");
  for (uint32_t i = 0; i < count; ++i) {
    std::string name, value;
    if (!text(&name) || !text(&value))
      return Broken("a header block that is cut off");
    headers.emplace_back(std::move(name), std::move(value));
  }
  if (!block.empty()) return Broken("a header block with more than its count");
  return headers;
}

// How long the part before a header block is; of the others, all of it.
// nullopt: any length.
std::optional<size_t> FixedPart(FrameType type) {
  switch (type) {
    case FrameType::kSynStream: return 10;
    case FrameType::kSynReply: return 4;
    case FrameType::kHeaders: return 4;
    case FrameType::kRstStream: return 8;
    case FrameType::kGoAway: return 8;
    case FrameType::kWindowUpdate: return 8;
    case FrameType::kPing: return 4;
    case FrameType::kData:
    case FrameType::kSettings: return std::nullopt;
  }
  return std::nullopt;
}

bool HasHeaders(FrameType type) {
  return type == FrameType::kSynStream || type == FrameType::kSynReply ||
         type == FrameType::kHeaders;
}

}  // namespace

class FrameReader::Inflater {
 public:
  Inflater() { ok_ = inflateInit(&stream_) == Z_OK; }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  absl::StatusOr<std::string> Unpack(std::string_view packed) {
    std::string out(kMaxHeaderBlock + 1, '\0');
    stream_.next_in = ZlibBytes(packed.data());
    stream_.avail_in = static_cast<uInt>(packed.size());
    stream_.next_out = ZlibBytes(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    int result = ok_ ? inflate(&stream_, Z_SYNC_FLUSH) : Z_STREAM_ERROR;
    if (result == Z_NEED_DICT) {
      const std::string& words = HeaderDictionary();
      result = inflateSetDictionary(&stream_, ZlibBytes(words.data()),
                                    static_cast<uInt>(words.size()));
      if (result == Z_OK) result = inflate(&stream_, Z_SYNC_FLUSH);
    }
    if (stream_.avail_out == 0) return Broken("too large a header block");
    // Z_BUF_ERROR: there was nothing to do, and nothing is wrong.
    if ((result != Z_OK && result != Z_BUF_ERROR) || stream_.avail_in != 0)
      return Broken("a header block that can't be unpacked");
    out.resize(out.size() - stream_.avail_out);
    return out;
  }

 private:
  z_stream stream_ = {};
  bool ok_ = false;
};

FrameReader::FrameReader() : inflater_(std::make_unique<Inflater>()) {}
FrameReader::~FrameReader() = default;

void FrameReader::Feed(std::string_view bytes) {
  buffer_.erase(0, std::exchange(at_, 0));
  buffer_ += bytes;
}

absl::StatusOr<std::optional<Frame>> FrameReader::Next() {
  while (!in_data_) {
    const std::string_view rest = std::string_view(buffer_).substr(at_);
    if (rest.size() < kHead) return std::nullopt;
    const uint32_t first = Load32(rest, 0), second = Load32(rest, 4);
    const auto flags = static_cast<uint8_t>(second >> 24);
    const uint32_t length = second & 0xffffff;
    if ((first & kControlBit) == 0) {
      data_.stream = first;
      data_.fin = (flags & kFin) != 0;
      data_left_ = length;
      in_data_ = true;
      at_ += kHead;
      break;
    }
    if ((first >> 16 & 0x7fff) != kVersion)
      return Broken("another version than 3");
    if (length > kMaxControlFrame) return Broken("too long a control frame");
    if (rest.size() < kHead + length) return std::nullopt;
    const auto type = static_cast<FrameType>(first & 0xffff);
    at_ += kHead + length;
    if (type != FrameType::kSettings && !FixedPart(type)) continue;
    FL_ASSIGN_OR_RETURN(Frame frame,
                        ReadControl(type, flags, rest.substr(kHead, length)));
    return frame;
  }
  return ReadData();
}

std::optional<Frame> FrameReader::ReadData() {
  const size_t length = std::min<size_t>(data_left_, buffer_.size() - at_);
  if (length == 0 && data_left_ > 0) return std::nullopt;
  Frame piece;
  piece.stream = data_.stream;
  piece.data = buffer_.substr(at_, length);
  at_ += length;
  data_left_ -= static_cast<uint32_t>(length);
  if (data_left_ == 0) {
    in_data_ = false;
    piece.fin = data_.fin;
  }
  return piece;
}

absl::StatusOr<Frame> FrameReader::ReadControl(FrameType type, uint8_t flags,
                                               std::string_view content) {
  Frame frame;
  frame.type = type;
  if (type == FrameType::kSettings) return frame;  // nothing that we follow
  const size_t fixed = *FixedPart(type);
  if (content.size() < fixed || (!HasHeaders(type) && content.size() > fixed))
    return Broken("a control frame of a wrong length");
  const uint32_t first = Load32(content, 0);
  if (type == FrameType::kPing) {
    frame.value = first;
    return frame;
  }
  frame.stream = first & ~kControlBit;
  if (!HasHeaders(type)) {
    frame.value = Load32(content, 4);
    return frame;
  }
  frame.fin = (flags & kFin) != 0;
  FL_ASSIGN_OR_RETURN(const std::string block,
                      inflater_->Unpack(content.substr(fixed)));
  FL_ASSIGN_OR_RETURN(frame.headers, ParseHeaders(block));
  return frame;
}

class FrameWriter::Deflater {
 public:
  // A window that the dictionary fits into, and little memory: 20 KB.
  Deflater() {
    const std::string& words = HeaderDictionary();
    ok_ = deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 12, 1,
                       Z_DEFAULT_STRATEGY) == Z_OK &&
          deflateSetDictionary(&stream_, ZlibBytes(words.data()),
                               static_cast<uInt>(words.size())) == Z_OK;
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  std::string Pack(std::string_view block) {
    // With a flush it may take some bytes more than deflateBound() says.
    std::string out(
        deflateBound(&stream_, static_cast<uLong>(block.size())) + 64, '\0');
    stream_.next_in = ZlibBytes(block.data());
    stream_.avail_in = static_cast<uInt>(block.size());
    stream_.next_out = ZlibBytes(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    if (ok_) deflate(&stream_, Z_SYNC_FLUSH);
    out.resize(out.size() - stream_.avail_out);
    return out;
  }

 private:
  z_stream stream_ = {};
  bool ok_ = false;
};

FrameWriter::FrameWriter() : deflater_(std::make_unique<Deflater>()) {}
FrameWriter::~FrameWriter() = default;

std::string FrameWriter::SynReply(uint32_t stream, const Headers& headers) {
  std::string block = Bytes32(static_cast<uint32_t>(headers.size()));
  for (const auto& [name, value] : headers) {
    for (const std::string* text : {&name, &value}) {
      block += Bytes32(static_cast<uint32_t>(text->size()));
      block += *text;
    }
  }
  return ControlFrame(FrameType::kSynReply,
                      Bytes32(stream) + deflater_->Pack(block));
}

std::string DataFrame(uint32_t stream, std::string_view data, bool fin) {
  const uint32_t flags = fin ? uint32_t{kFin} << 24 : 0;
  return StrCat(Bytes32(stream),
                Bytes32(flags | static_cast<uint32_t>(data.size())), data);
}

std::string RstStreamFrame(uint32_t stream, ResetStatus status) {
  return ControlFrame(
      FrameType::kRstStream,
      Bytes32(stream) + Bytes32(static_cast<uint32_t>(status)));
}

std::string PingFrame(uint32_t id) {
  return ControlFrame(FrameType::kPing, Bytes32(id));
}

std::string GoAwayFrame(uint32_t last_stream, uint32_t status) {
  return ControlFrame(FrameType::kGoAway,
                      Bytes32(last_stream) + Bytes32(status));
}

}  // namespace fairlead::spdy
