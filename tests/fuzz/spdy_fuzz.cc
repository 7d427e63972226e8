// SPDX-License-Identifier: Apache-2.0
// Bytes of a SPDY client: whatever they are, cut anywhere, they mean the same,
// and what is remembered of them is bounded.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/base/strings.h"
#include "userspace/kubelet/spdy/session.h"

namespace {

using fairlead::StrAppend;
using fairlead::spdy::Headers;
using fairlead::spdy::Session;

class Story : public Session::Streams {
 public:
  absl::Status OnOpen(uint32_t stream, const Headers& headers) override {
    StrAppend(&text, "o", stream, ":", headers.size(), ";");
    return stream % 5 == 0 ? absl::InvalidArgumentError("no")
                           : absl::OkStatus();
  }
  // Pieces are where the bytes were cut: only what they are counts.
  void OnData(uint32_t stream, std::string_view data) override {
    for (const char c : data) StrAppend(&text, "d", stream, int{c}, ";");
    session->Send(stream, data);
  }
  void OnFinished(uint32_t stream) override {
    StrAppend(&text, "f", stream, ";");
    session->Finish(stream);
  }
  void OnReset(uint32_t stream) override { StrAppend(&text, "r", stream, ";"); }

  std::string text;
  Session* session = nullptr;
};

std::string Tell(std::string_view bytes, std::string_view cuts) {
  Story story;
  Session session(&story);
  story.session = &session;
  size_t at = 0, cut = 0;
  while (at < bytes.size()) {
    size_t piece = bytes.size() - at;
    if (!cuts.empty())
      piece = 1 + static_cast<unsigned char>(cuts[cut++ % cuts.size()]);
    const absl::Status status = session.Receive(bytes.substr(at, piece));
    session.Take();
    if (session.streams() > fairlead::spdy::kMaxStreams) abort();
    if (!status.ok()) return story.text + std::string(status.message());
    at += piece;
  }
  return story.text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  const size_t cuts = std::min<size_t>(size, size > 0 ? bytes[0] % 8 : 0);
  const std::string_view stream = input.substr(cuts);
  if (Tell(stream, "") != Tell(stream, input.substr(0, cuts))) abort();
  return 0;
}
