// SPDX-License-Identifier: Apache-2.0
// SQLite's write-ahead log: https://www.sqlite.org/fileformat2.html#walformat
#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "control/store/format.h"
#include "userspace/base/strings.h"

namespace fairlead::store {
namespace {

constexpr size_t kHeader = 32, kFrameHeader = 24;
constexpr uint32_t kMagic = 0x377f0682;  // the lowest bit: big-endian sums

uint32_t Big(const char* at) {
  const auto* b = reinterpret_cast<const unsigned char*>(at);
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 |
         b[3];
}

uint32_t Little(const char* at) {
  const auto* b = reinterpret_cast<const unsigned char*>(at);
  return uint32_t{b[3]} << 24 | uint32_t{b[2]} << 16 | uint32_t{b[1]} << 8 |
         b[0];
}

using Sum = std::array<uint32_t, 2>;

Sum StoredSum(const char* at) { return {Big(at), Big(at + 4)}; }

Sum AddTo(Sum sum, bool big_endian, std::string_view data) {
  for (size_t i = 0; i + 8 <= data.size(); i += 8) {
    const char* at = data.data() + i;
    sum[0] += (big_endian ? Big(at) : Little(at)) + sum[1];
    sum[1] += (big_endian ? Big(at + 4) : Little(at + 4)) + sum[0];
  }
  return sum;
}

}  // namespace

absl::Status VerifyLog(const std::string& path) {
  const std::string log = path + "-wal";
  std::ifstream file(log, std::ios::binary);
  std::string header(kHeader, '\0');
  if (!file.read(header.data(), kHeader)) return absl::OkStatus();
  const std::string_view head(header);
  const bool big_endian = (Big(&header[0]) & 1) != 0;
  const uint32_t page = Big(&header[8]);
  if (page < 512 || page > 65536 || (page & (page - 1)) != 0) {
    return absl::DataLossError(StrCat(log, " is damaged"));
  }
  Sum before = StoredSum(&header[24]);
  bool good = (Big(&header[0]) & ~1u) == kMagic &&
              AddTo({}, big_endian, head.substr(0, 24)) == before;
  std::string salt = good ? header.substr(16, 8) : "";
  // Each frame's sum goes on from the one before. Behind the first that is bad,
  // frames that follow from one another were written one after the other, and a
  // transaction was synced before the next began. One alone may have been under
  // way in a crash, or be left over from one that was.
  int run = 0, lost = 0;
  std::string frame(kFrameHeader + page, '\0');
  while (file.read(frame.data(), static_cast<std::streamsize>(frame.size()))) {
    const std::string_view bytes(frame);
    if (salt.empty()) salt = frame.substr(8, 8);
    if (bytes.substr(8, 8) != salt) break;  // from before the log began anew
    const Sum stored = StoredSum(&frame[16]);
    const bool follows =
        AddTo(AddTo(before, big_endian, bytes.substr(0, 8)), big_endian,
              bytes.substr(kFrameHeader)) == stored;
    before = stored;
    good = good && follows;
    if (good) continue;
    const bool ends_transaction = Big(&frame[4]) != 0;
    run = follows ? run + ends_transaction : 0;
    lost = std::max(lost, run);
  }
  if (lost < 2) return absl::OkStatus();
  return absl::DataLossError(
      StrCat(log, " is damaged in front of ", lost, " or more transactions"));
}

}  // namespace fairlead::store
