// SPDX-License-Identifier: Apache-2.0
// The contract as C++ sees it, and the pure parts of bpf/lib and datapath on
// the host. The BPF side of the same is tests/prog/abi_btf_test.cc.
#include <arpa/inet.h>

#include <set>

#include "bpf/abi/filter.h"
#include "bpf/abi/types.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "userspace/datapath/inspect.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead::datapath {
namespace {

// Every struct can be a map's key or value: copied bytewise, no padding.
#define FL_CHECK_STRUCT(name) static_assert(MapPod<struct name>);
FL_ABI_STRUCTS(FL_CHECK_STRUCT)
#undef FL_CHECK_STRUCT

// ... and the concept can say no.
struct HasHole {
  uint8_t a;
  uint32_t b;
};
static_assert(!MapPod<HasHole>);
struct HasVirtual {
  virtual ~HasVirtual() = default;
};
static_assert(!MapPod<HasVirtual>);

static_assert(MmapArray<uint32_t>::kStride == 8);
static_assert(MmapArray<fl_backend>::kStride == sizeof(fl_backend));
static_assert((FL_PEER_ENTRIES & (FL_PEER_ENTRIES - 1)) == 0);
static_assert((FL_FILTER_BITS & (FL_FILTER_BITS - 1)) == 0);

fl_addr V4(uint32_t host_order) {
  return {{0, 0, htonl(0xffff), htonl(host_order)}};
}

TEST(AbiTest, FilterBitsOfNeighboursDiffer) {
  std::set<uint32_t> bits;
  int inserted = 0;
  for (uint32_t host = 0; host < 64; ++host) {
    for (uint16_t port : {80, 81, 443, 8080}) {
      for (uint8_t proto : {6, 17}) {
        fl_addr addr = V4(0x0a600000 + host);
        uint32_t bit = fl_filter_bit(&addr, htons(port), proto);
        EXPECT_LT(bit, FL_FILTER_BITS);
        bits.insert(bit);
        ++inserted;
      }
    }
  }
  // 512 into 2M bits: one collision by chance in 16 such sets.
  EXPECT_GE(static_cast<int>(bits.size()), inserted - 2);
}

TEST(AbiTest, CountersHaveNamesAndTexts) {
  std::set<std::string> names;
  for (uint32_t id = 0; id < FL_COUNTER_MAX; ++id) {
    names.insert(CounterName(id));
    EXPECT_FALSE(CounterText(id).empty()) << id;
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(FL_COUNTER_MAX));
  EXPECT_EQ(CounterName(FL_COUNTER_NOT_OURS), "not_ours");
  EXPECT_EQ(CounterName(12345), "unknown_12345");
  EXPECT_EQ(CounterText(12345), "");
}

TEST(PinLayoutTest, NamesAndBack) {
  PinLayout layout("/bpf/node-a");
  EXPECT_EQ(layout.MapPath("fl_flow"),
            "/bpf/node-a/v" + std::to_string(FL_ABI_VERSION) +
                "/maps/fl_flow");
  for (Direction direction : {Direction::kIngress, Direction::kEgress}) {
    for (bool clsact : {false, true}) {
      std::string path = clsact ? layout.ClsactPath(17, direction)
                                : layout.TcxLinkPath(17, direction);
      std::string file = path.substr(path.rfind('/') + 1);
      auto pin = ParseDevicePin(file);
      ASSERT_TRUE(pin) << file;
      EXPECT_EQ(pin->ifindex, 17);
      EXPECT_EQ(pin->direction, direction);
      EXPECT_EQ(pin->clsact, clsact);
    }
  }
  for (const char* other : {"cgroup_fl_connect4", "tc_x_ingress", "tc_1_up",
                            "tc_1", "xdp_1_ingress", ""}) {
    EXPECT_FALSE(ParseDevicePin(other)) << other;
  }
}

TEST(PinLayoutTest, ARelativeRootIsRefused) {
  EXPECT_EQ(PinLayout("bpf/x").Check().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DumpRowTest, LineAndJson) {
  DumpRow row{"slot", "7", {{"backend", "3", true}, {"state", "on", false}}};
  EXPECT_EQ(row.ToLine(), "slot 7 backend=3 state=on");
  EXPECT_EQ(row.ToJson(),
            R"({"map":"slot","key":"7","backend":3,"state":"on"})");
}

TEST(FlowFilterTest, MatchesAnyEnd) {
  fl_flow_key key = {};
  key.src = V4(0x0a000001);
  key.dst = V4(0x0a600001);
  fl_flow flow = {};
  flow.addr = V4(0x0af40005);
  flow.service_id = 3;
  EXPECT_TRUE(FlowFilter{}.Matches(key, flow));
  for (uint32_t address : {0x0a000001u, 0x0a600001u, 0x0af40005u}) {
    FlowFilter filter;
    filter.address = IpAddress::V4(address);
    EXPECT_TRUE(filter.Matches(key, flow));
  }
  FlowFilter filter;
  filter.address = IpAddress::V4(0x0a000002);
  EXPECT_FALSE(filter.Matches(key, flow));
  filter = {};
  filter.service_id = 4;
  EXPECT_FALSE(filter.Matches(key, flow));
  filter.service_id = 3;
  filter.backend_id = 1;
  EXPECT_FALSE(filter.Matches(key, flow));
}

}  // namespace
}  // namespace fairlead::datapath
