// SPDX-License-Identifier: Apache-2.0
// A watch's bytes cut at places that the input chooses give the same objects
// as uncut.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/kube/wire.h"

using fairlead::kube::JsonSplitter;

static bool Split(std::string_view stream, std::string_view cuts,
                  std::vector<std::string>* objects) {
  JsonSplitter splitter(1 << 20);
  size_t at = 0, cut = 0;
  while (at < stream.size()) {
    size_t piece = stream.size() - at;
    if (!cuts.empty()) {
      piece = 1 + static_cast<unsigned char>(cuts[cut++ % cuts.size()]);
    }
    absl::Status status =
        splitter.Feed(stream.substr(at, piece), [&](std::string_view text) {
          objects->emplace_back(text);
          auto frame = fairlead::kube::DecodeWatchFrame(text);
          if (frame.ok()) (void)fairlead::kube::HeadOf(*frame);
          return true;
        });
    if (!status.ok()) return false;
    at += piece;
  }
  return true;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(bytes), size);
  size_t cuts = std::min<size_t>(size, size > 0 ? bytes[0] % 8 : 0);
  std::string_view stream = input.substr(cuts);
  std::vector<std::string> whole, cut;
  bool whole_ok = Split(stream, "", &whole);
  bool cut_ok = Split(stream, input.substr(0, cuts), &cut);
  if (whole_ok != cut_ok || whole != cut) abort();
  return 0;
}
