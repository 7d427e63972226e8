// SPDX-License-Identifier: Apache-2.0
// --map-size, and the directories' names.
#include "userspace/datapath/map_sizes.h"

#include <gmock/gmock.h>

#include "bpf/abi/types.h"
#include "userspace/base/strings.h"

namespace fairlead::datapath {
namespace {

using ::testing::HasSubstr;

std::string Refusal(std::string_view text) {
  MapSizes sizes;
  return std::string(SetMapSize(text, &sizes).message());
}

TEST(MapSizes, AreSetByName) {
  MapSizes sizes;
  EXPECT_EQ(ToText(sizes), "");
  EXPECT_TRUE(SetMapSize("flows=1048576", &sizes).ok());
  EXPECT_TRUE(SetMapSize("source-ranges=7", &sizes).ok());
  EXPECT_EQ(sizes.flows, 1048576u);
  EXPECT_EQ(sizes.source_ranges, 7u);
  EXPECT_EQ(ToText(sizes), "flows=1048576,source-ranges=7");
}

TEST(MapSizes, RefusesWhatItCannotMake) {
  EXPECT_THAT(Refusal("flow=1"), HasSubstr("there are services, slots"));
  EXPECT_THAT(Refusal("flows"), HasSubstr("want NAME=ENTRIES"));
  EXPECT_THAT(Refusal("flows=300000"), HasSubstr("such as 524288"));
  EXPECT_THAT(Refusal("flows=0"), HasSubstr("want 1 to"));
  EXPECT_THAT(Refusal("flows=4294967296"), HasSubstr("want 1 to"));
  EXPECT_THAT(Refusal("slots=-1"), HasSubstr("want 1 to"));
  EXPECT_THAT(Refusal("event-bytes=2048"), HasSubstr("want 4096 to"));
}

// Other sizes are another directory; the version is still to be seen.
TEST(MapSizes, NameTheDirectory) {
  MapSizes sizes;
  EXPECT_EQ(VersionName(sizes), StrCat("v", FL_ABI_VERSION));
  sizes.flows = 1 << 20;
  sizes.node_addresses = 5;
  EXPECT_EQ(VersionName(sizes), StrCat("v", FL_ABI_VERSION,
                                       "_flows-1048576_node-addresses-5"));
  EXPECT_EQ(VersionOf(VersionName(sizes)), uint32_t{FL_ABI_VERSION});
  EXPECT_EQ(VersionOf("v12"), 12u);
  for (const char* other : {"v", "", "12", "v12x", "v-1", "v+1_flows-2",
                            "v 1", "lock", "v4294967296"}) {
    EXPECT_EQ(VersionOf(other), 0u) << other;
  }
}

}  // namespace
}  // namespace fairlead::datapath
