// SPDX-License-Identifier: Apache-2.0
// Golden cases: API objects go in; the desired frontends, the operations in
// their order and what is then in the maps come out.
//
// A case is a text file. "# ..." comments; ">>> command" with its body below;
// "<<< name" an output with its lines below. Running a case writes it again
// with the outputs that it has now: equal text is a pass. Commands:
//
//   >>> node                 YAML: name, zone, masqueradeAll, addresses (those
//                            with a "!" take NodePorts)
//   >>> apply                YAML of Services and EndpointSlices
//   >>> list                 the same, but objects that aren't there are gone
//   >>> delete service KEY   or: delete slice KEY
//   >>> touch KEY            try the Service again
//   >>> advance DURATION
//   >>> restart              a new process on the same maps; the objects are
//                            those that it had
//   >>> restart list         ... are those below
#ifndef FAIRLEAD_TESTS_GOLDEN_RUNNER_H_
#define FAIRLEAD_TESTS_GOLDEN_RUNNER_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "userspace/reconcile/map_set.h"

namespace fairlead::reconcile {

// The maps of the case, opened anew by a starting process. The first call
// finds them empty.
using OpenMaps = std::function<absl::StatusOr<MapSet*>()>;

// The case's text with true outputs. An error: it can't be run.
absl::StatusOr<std::string> RunCase(std::string_view text,
                                    const OpenMaps& open_maps);

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_TESTS_GOLDEN_RUNNER_H_
