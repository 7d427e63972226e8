// SPDX-License-Identifier: Apache-2.0
// SPDY/3.1 on the wire: frames out of bytes and bytes out of frames, header
// blocks by zlib with the protocol's dictionary
// (draft-mbelshe-httpbis-spdy-00). Numbers are big-endian.
//
// Threads: none of its own; an object belongs to one connection.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SPDY_FRAMES_H_
#define FAIRLEAD_USERSPACE_KUBELET_SPDY_FRAMES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead::spdy {

enum class FrameType : uint16_t {
  kData = 0,  // not a number of the wire's
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};

// Of RST_STREAM.
enum class ResetStatus : uint32_t {
  kProtocolError = 1,
  kInvalidStream = 2,
  kRefusedStream = 3,
  kCancel = 5,
  kInternalError = 6,
  kStreamAlreadyClosed = 9,
};

// Names are in lower case. Several values of one name are one value, with
// zero bytes between them.
using Headers = std::vector<std::pair<std::string, std::string>>;

struct Frame {
  FrameType type = FrameType::kData;
  uint32_t stream = 0;  // of the types that are about one
  bool fin = false;     // the sender's half ends with it
  uint32_t value = 0;   // a reset's or goodbye's status, a ping's id, ...
  Headers headers;
  std::string data;
};

// What a client may make us remember.
inline constexpr size_t kMaxControlFrame = 16u << 10;
inline constexpr size_t kMaxHeaderBlock = 16u << 10;  // when unpacked

class FrameReader {
 public:
  FrameReader();
  ~FrameReader();

  void Feed(std::string_view bytes);
  // The next frame; nullopt: more bytes are needed. A DATA frame comes in
  // pieces as its bytes arrive, `fin` with the last of them. Types that the
  // protocol doesn't know are passed over. After an error (InvalidArgument,
  // which says what is wrong) there is no next one.
  [[nodiscard]] absl::StatusOr<std::optional<Frame>> Next();

 private:
  class Inflater;

  absl::StatusOr<Frame> ReadControl(FrameType type, uint8_t flags,
                                    std::string_view content);
  std::optional<Frame> ReadData();

  std::string buffer_;
  size_t at_ = 0;  // what is before it has been read
  // Of the DATA frame under way.
  bool in_data_ = false;
  Frame data_;  // its stream and whether it is the last
  uint32_t data_left_ = 0;
  std::unique_ptr<Inflater> inflater_;
};

// Packs header blocks, each of which depends on those before it.
class FrameWriter {
 public:
  FrameWriter();
  ~FrameWriter();

  std::string SynReply(uint32_t stream, const Headers& headers);

 private:
  class Deflater;
  std::unique_ptr<Deflater> deflater_;
};

// REQUIRES: less than 16 MiB of data.
std::string DataFrame(uint32_t stream, std::string_view data, bool fin);
std::string RstStreamFrame(uint32_t stream, ResetStatus status);
std::string PingFrame(uint32_t id);
// `status` 0: nothing is wrong; 1: the peer broke the protocol.
std::string GoAwayFrame(uint32_t last_stream, uint32_t status);

// What both sides' zlib begins with.
const std::string& HeaderDictionary();

}  // namespace fairlead::spdy

#endif  // FAIRLEAD_USERSPACE_KUBELET_SPDY_FRAMES_H_
