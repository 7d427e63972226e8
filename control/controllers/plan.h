// SPDX-License-Identifier: Apache-2.0
// What a controller wants done: data, made by pure functions, carried out by
// the Shell.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_PLAN_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_PLAN_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "userspace/kube/events.h"
#include "userspace/kube/resource.h"

namespace fairlead::controllers {

using Json = nlohmann::json;

// An Event about an object.
struct Announcement {
  Json about;  // kube::ReferenceTo()
  kube::EventType type = kube::EventType::kNormal;
  std::string reason;
  std::string message;
};

enum class Verb {
  kCreate,
  kUpdate,        // the whole object, which carries its resourceVersion
  kUpdateStatus,  // the same through /status
  kMergePatch,
  kMergePatchStatus,
  kDelete,
  kFinalize,  // PUT of a Namespace's /finalize
};

struct Write {
  Verb verb = Verb::kUpdate;
  const kube::Resource* resource = nullptr;  // lives as long as the program
  std::string ns;
  std::string name;  // empty: the server makes it from generateName
  Json body;
  // kDelete only.
  std::string uid;  // nothing else may be deleted under this name
  std::optional<int> grace_period_seconds;
  std::string propagation = "Background";
  // Writes of one stage go out together; a stage begins when the one before
  // it has succeeded whole.
  int stage = 0;
  // Sent when the write has succeeded. "%s" in the message becomes the name
  // of the object as answered.
  std::optional<Announcement> announce;
};

// A look at the API server itself, for where an informer's copy may be
// behind and a wrong step could not be taken back.
struct Read {
  const kube::Resource* resource = nullptr;
  std::string ns;
  std::string name;  // empty: a list with at most `limit` items
  int limit = 500;
};

struct Plan {
  // When not empty, the plan is made again with the answers, and `writes` of
  // this one are not carried out.
  std::vector<Read> reads;
  std::vector<Write> writes;
  std::vector<Announcement> announcements;
  // Time alone will change the plan after this long.
  absl::Duration again = absl::InfiniteDuration();
};

Write CreateOf(const kube::Resource& resource, Json object, int stage = 0);
Write UpdateOf(const kube::Resource& resource, Json object, int stage = 0);
Write StatusOf(const kube::Resource& resource, Json object, int stage = 0);
// The patch is refused when `object` has changed meanwhile.
Write PatchOf(const kube::Resource& resource, const Json& object, Json patch,
              int stage = 0);
Write DeleteOf(const kube::Resource& resource, const Json& object,
               int stage = 0);
// Deletes without waiting for anybody.
Write ForceDeleteOf(const kube::Resource& resource, const Json& object,
                    int stage = 0);

Announcement Announce(const kube::Resource& resource, const Json& object,
                      kube::EventType type, std::string_view reason,
                      std::string_view message);

// One line for logs and tests: "create pods default/web-".
std::string Describe(const Write& write);

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_PLAN_H_
