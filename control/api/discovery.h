// SPDX-License-Identifier: Apache-2.0
// What the server says about itself: /version, /api, /apis (plain, and
// aggregated v2 by Accept), group and version documents, and OpenAPI v3 (an
// index and one document a group version). All of it is derived from the kind
// table; nothing is kept between calls, so a document costs memory only while
// it is sent.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_DISCOVERY_H_
#define FAIRLEAD_CONTROL_API_DISCOVERY_H_

#include <optional>
#include <string>
#include <vector>

#include "control/api/kind.h"
#include "userspace/kube/transport.h"

namespace fairlead::api {

// What there is below "/", for people; `others` are paths of no kind.
kube::Response ListPaths(const KindTable& kinds,
                         const std::vector<std::string>& others);

// nullopt: not a path of discovery. Answers methods other than GET with 405,
// an unknown group, version or document below its paths with 404, and a known
// ETag in If-None-Match with 304.
std::optional<kube::Response> ServeDiscovery(const kube::Request& request,
                                             const KindTable& kinds);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_DISCOVERY_H_
