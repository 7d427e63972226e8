// SPDX-License-Identifier: Apache-2.0
// Every kind of frontend, client, policy, protocol and family on real packets:
// who answers, from which address it believes to be asked, or how the client
// is turned away.
#include "tests/netns/matrix.h"
#include "tests/netns/service_test_base.h"

namespace fairlead::harness {
namespace {

using MatrixTest = ServiceTest;

TEST_F(MatrixTest, EveryCell) {
  ASSERT_OK(bed_->StartAgent());
  Matrix matrix("matrix", bed_.get());
  matrix.Run(Clients(), Policies());
  matrix.Finish();
}

TEST_F(MatrixTest, MasqueradeAll) {
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.push_back("--masquerade-all");
  ASSERT_OK(bed_->StartAgent(flags));
  Matrix matrix("matrix with --masquerade-all", bed_.get());
  matrix.Run(Clients(), MasqueradeAllPolicies());
  matrix.Finish();
}

TEST_F(MatrixTest, WithoutALocalDetector) {
  ASSERT_OK(bed_->StartAgent({}));
  Matrix matrix("matrix without a local detector", bed_.get());
  matrix.Run(Clients(), NoDetectorPolicies());
  matrix.Finish();
}

}  // namespace
}  // namespace fairlead::harness
