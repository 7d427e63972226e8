// SPDX-License-Identifier: Apache-2.0
// The numbers of docs/design/packet-path.md's section on source ports follow
// from the default range and the programs' constants.
#include <fstream>
#include <iterator>
#include <string>

#include "bpf/abi/types.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "userspace/agent/config.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

using ::testing::HasSubstr;

std::string Page(const std::string& name) {
  std::ifstream file(StrCat(FAIRLEAD_SOURCE_DIR, "/docs/", name));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// "18,525"
std::string Grouped(int number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

TEST(SourcePorts, ThePageSaysWhatTheDefaultRangeGives) {
  Flags flags;
  flags.server = "http://127.0.0.1:1";
  flags.cgroup_root = "none";
  auto config = MakeConfig(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  const PortRange range = config->masquerade_ports;
  const int all = range.last - range.first + 1;
  const int kept = all / FL_CHANGEOVER_PORTS;
  const std::string page = Page("design/packet-path.md");
  EXPECT_THAT(page, HasSubstr(StrCat("`", range.first, "-", range.last, "`: ",
                                     Grouped(all), " ports")));
  EXPECT_THAT(page, HasSubstr(StrCat("one in ", FL_CHANGEOVER_PORTS, " (",
                                     Grouped(kept), ")")));
  EXPECT_THAT(page, HasSubstr(StrCat("**", Grouped(all - kept), "** free")));
  EXPECT_THAT(page, HasSubstr(StrCat("at most ", FL_PORT_TRIES, " are tried")));
  EXPECT_THAT(Page("semantics.md"),
              HasSubstr(StrCat(Grouped(all - kept), " (15 of ",
                               FL_CHANGEOVER_PORTS, " of ")));
}

}  // namespace
}  // namespace fairlead::agent
