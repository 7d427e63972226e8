// SPDX-License-Identifier: Apache-2.0
// The golden cases on tables in memory.
#include <memory>

#include "tests/golden/fake_maps.h"
#include "tests/golden/golden_main.h"

namespace fairlead::reconcile {
namespace {

class InMemory : public CaseMaps {
 public:
  absl::StatusOr<MapSet*> Open() override { return &maps_; }

 private:
  FakeMaps maps_;
};

}  // namespace
}  // namespace fairlead::reconcile

int main(int argc, char** argv) {
  using namespace fairlead::reconcile;
  return GoldenMain(argc, argv, [] { return std::make_unique<InMemory>(); });
}
