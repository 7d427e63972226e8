// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/termination_message.h"

#include <fstream>

#include "userspace/kubelet/runtime/log_reader.h"

namespace fairlead::kubelet {
namespace {

constexpr size_t kMaxBytes = 4096, kMaxLogBytes = 2048;
constexpr int64_t kMaxLogLines = 80;
constexpr size_t kChunk = 64u << 10;

}  // namespace

std::string TerminationMessage(const std::string& file, const std::string& log,
                               bool from_log) {
  std::string text(kMaxBytes, '\0');
  std::ifstream in(file, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (!text.empty() || !from_log) return text;
  LogQuery query;
  query.tail = kMaxLogLines;
  LogReader reader(log, query);
  for (std::string piece = reader.Read(kChunk); !piece.empty();
       piece = reader.Read(kChunk)) {
    text += piece;
    if (text.size() > kMaxLogBytes) text.erase(0, text.size() - kMaxLogBytes);
  }
  return text;
}

}  // namespace fairlead::kubelet
