// SPDX-License-Identifier: Apache-2.0
// The golden cases on the kernel's maps, in a BPF file system of the test's
// own: the same operations, and the maps read back say the same.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "tests/golden/golden_main.h"
#include "tests/harness/scopes.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::reconcile {
namespace {

class Pinned : public CaseMaps {
 public:
  explicit Pinned(std::string root) : layout_(std::move(root)) {}

  absl::StatusOr<MapSet*> Open() override {
    // Also what a restarted agent does: the pinned maps are found.
    FL_RETURN_IF_ERROR(layout_.CreateDirectories());
    FL_ASSIGN_OR_RETURN(
        programs_, datapath::Programs::Load(
                       layout_, fl_config{},
                       {.services = 1024, .slots = 4096, .backends = 1024,
                        .flows = 1024, .sockets = 1024, .affinities = 1024,
                        .source_ranges = 1024}));
    FL_ASSIGN_OR_RETURN(maps_, datapath::KernelMaps::Open(layout_));
    return maps_.get();
  }

 private:
  datapath::PinLayout layout_;
  std::unique_ptr<datapath::Programs> programs_;
  std::unique_ptr<datapath::KernelMaps> maps_;
};

}  // namespace
}  // namespace fairlead::reconcile

int main(int argc, char** argv) {
  using namespace fairlead;
  absl::StatusOr<harness::BpffsScope> bpffs = harness::BpffsScope::Create();
  if (!bpffs.ok()) {
    fprintf(stderr, "%s\n", bpffs.status().ToString().c_str());
    return 1;
  }
  int cases = 0;
  return reconcile::GoldenMain(argc, argv, [&] {
    return std::make_unique<reconcile::Pinned>(
        StrCat(bpffs->path(), "/case-", ++cases));
  });
}
