// SPDX-License-Identifier: Apache-2.0
// What the verifier walks through for each program: recorded, so that growth is
// seen when it happens and not when a program no longer loads. Also the time
// that all programs take together, for people.
#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/prog/service_world.h"

namespace fairlead {
namespace {

// Verified instructions with Linux 6.18 and this tree's clang. A program may
// grow by a tenth before this table has to be looked at; write down what it has
// become, with the reason in the commit.
const std::map<std::string, uint32_t>& Recorded() {
  static const auto* recorded = new std::map<std::string, uint32_t>{
      {"fl_tc_ingress", 47747},
      {"fl_tc_egress", 30573},
      {"fl_tc_ingress_l3", 47747},
      {"fl_tc_egress_l3", 30570},
      {"fl_connect4", 12822},
      {"fl_connect6", 22095},
      {"fl_sendmsg4", 20192},
      {"fl_sendmsg6", 25862},
      {"fl_recvmsg4", 159},
      {"fl_recvmsg6", 211},
      {"fl_getpeername4", 159},
      {"fl_getpeername6", 211},
      {"fl_sock_release", 104},
  };
  return *recorded;
}

TEST(Verifier, ProgramsStayWithinWhatIsRecorded) {
  auto world = harness::ServiceWorld::Create();
  ASSERT_TRUE(world.ok()) << world.status();
  datapath::Options options = (*world)->options();
  const absl::Time before = absl::Now();
  ASSERT_TRUE((*world)->OpenDatapath(options).ok());
  printf("all programs: loaded in %.0f ms\n",
         absl::ToDoubleMilliseconds(absl::Now() - before));
  const datapath::Programs& programs = (*world)->datapath().programs();
  const std::vector<std::string> names = programs.Names();
  // A program that is gone leaves no row behind, a new one has one.
  std::vector<std::string> recorded_names;
  for (const auto& [name, recorded] : Recorded()) {
    recorded_names.push_back(name);
  }
  EXPECT_EQ(recorded_names, names);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    auto row = Recorded().find(name);
    const uint32_t recorded = row == Recorded().end() ? 0 : row->second;
    auto fd = programs.Fd(name);
    ASSERT_TRUE(fd.ok()) << fd.status();
    bpf_prog_info info = {};
    uint32_t size = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(*fd, &info, &size), 0);
    printf("  %-18s %6u\n", name.c_str(), info.verified_insns);
    EXPECT_GT(info.verified_insns, 0u);
    EXPECT_LE(info.verified_insns, recorded + recorded / 10);
  }
}

}  // namespace
}  // namespace fairlead
