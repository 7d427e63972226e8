// SPDX-License-Identifier: Apache-2.0
// What a SPDY/3.1 client sends, made by zlib as moby/spdystream makes it: one
// stream of compressed header blocks, each flushed: so they have to be made in
// their order, and not as the operands of one expression. For tests only.
#ifndef FAIRLEAD_TESTS_UNIT_SPDY_CLIENT_H_
#define FAIRLEAD_TESTS_UNIT_SPDY_CLIENT_H_

#include <zlib.h>

#include <cstdint>
#include <string>

#include "userspace/kubelet/spdy/frames.h"

namespace fairlead::spdy {

inline std::string Number(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i)
    out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

inline std::string Control(uint16_t type, uint8_t flags,
                           const std::string& content, uint16_t version = 3) {
  return Number(0x8000u | version, 2) + Number(type, 2) + Number(flags, 1) +
         Number(content.size(), 3) + content;
}

inline std::string Data(uint32_t stream, const std::string& data,
                        bool fin = false) {
  return Number(stream, 4) + Number(fin, 1) + Number(data.size(), 3) + data;
}

inline std::string Block(const Headers& headers) {
  std::string block = Number(headers.size(), 4);
  for (const auto& [name, value] : headers) {
    block += Number(name.size(), 4) + name;
    block += Number(value.size(), 4) + value;
  }
  return block;
}

class SpdyClient {
 public:
  SpdyClient() {
    const std::string& words = HeaderDictionary();
    deflateInit(&stream_, Z_BEST_COMPRESSION);
    deflateSetDictionary(&stream_,
                         reinterpret_cast<const Bytef*>(words.data()),
                         static_cast<uInt>(words.size()));
  }
  ~SpdyClient() { deflateEnd(&stream_); }
  SpdyClient(const SpdyClient&) = delete;
  SpdyClient& operator=(const SpdyClient&) = delete;

  std::string Pack(std::string block, int flush = Z_SYNC_FLUSH) {
    std::string out(block.size() + 1024, '\0');
    stream_.next_in = reinterpret_cast<Bytef*>(block.data());
    stream_.avail_in = static_cast<uInt>(block.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    deflate(&stream_, flush);
    out.resize(out.size() - stream_.avail_out);
    return out;
  }

  std::string SynStream(uint32_t stream, const Headers& headers,
                        bool fin = false) {
    return Control(1, fin,
                   Number(stream, 4) + Number(0, 4) + Number(0, 2) +
                       Pack(Block(headers)));
  }

  // What kubectl opens for one connection: streams `id` and `id` + 2.
  std::string Forward(uint32_t id, uint16_t port) {
    const std::string number = std::to_string(port);
    const std::string request = std::to_string(id);
    std::string bytes = SynStream(id, {{"streamtype", "error"},
                                       {"port", number},
                                       {"requestid", request}});
    bytes += Data(id, "", true);
    bytes += SynStream(id + 2, {{"streamtype", "data"},
                                {"port", number},
                                {"requestid", request}});
    return bytes;
  }

 private:
  z_stream stream_ = {};
};

}  // namespace fairlead::spdy

#endif  // FAIRLEAD_TESTS_UNIT_SPDY_CLIENT_H_
