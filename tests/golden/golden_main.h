// SPDX-License-Identifier: Apache-2.0
// The main() of a golden test: every case of a directory is a test.
//
//   TEST_BINARY [--cases=DIR] [--update]
//
// --update writes the outputs that the cases have now: read the diff before
// committing it.
#ifndef FAIRLEAD_TESTS_GOLDEN_GOLDEN_MAIN_H_
#define FAIRLEAD_TESTS_GOLDEN_GOLDEN_MAIN_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "userspace/reconcile/map_set.h"

namespace fairlead::reconcile {

// The maps of one case, empty at first.
class CaseMaps {
 public:
  virtual ~CaseMaps() = default;
  // For a starting process; valid until the next call.
  virtual absl::StatusOr<MapSet*> Open() = 0;
};

int GoldenMain(int argc, char** argv,
               std::function<std::unique_ptr<CaseMaps>()> new_maps);

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_TESTS_GOLDEN_GOLDEN_MAIN_H_
