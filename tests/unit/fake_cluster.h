// SPDX-License-Identifier: Apache-2.0
// Objects in memory that plans are carried out on, as the API server would.
// Refuses a write made from an old resourceVersion.
#ifndef FAIRLEAD_TESTS_UNIT_FAKE_CLUSTER_H_
#define FAIRLEAD_TESTS_UNIT_FAKE_CLUSTER_H_

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {

class FakeCluster {
 public:
  absl::Time now = absl::FromUnixSeconds(1'800'000'000);

  std::vector<Object> List(const kube::Resource& resource) const {
    std::vector<Object> result;
    auto it = objects_.find(resource.plural);
    if (it == objects_.end()) return result;
    for (const auto& [key, object] : it->second) result.push_back(object);
    return result;
  }

  Object Get(const kube::Resource& resource, const std::string& key) const {
    auto it = objects_.find(resource.plural);
    if (it == objects_.end()) return nullptr;
    auto object = it->second.find(key);
    return object == it->second.end() ? nullptr : object->second;
  }

  Object Put(const kube::Resource& resource, Json object) {
    Json& meta = object["metadata"];
    if (!meta.contains("name")) {
      meta["name"] = StrCat(Text(object, {"metadata", "generateName"}),
                            "x", serial_ + 1);
    }
    ++serial_;
    if (!meta.contains("uid")) {
      meta["uid"] = StrCat("uid-", serial_);
      meta["creationTimestamp"] = Timestamp(now);
      if (!meta.contains("generation")) meta["generation"] = 1;
    }
    meta["resourceVersion"] = std::to_string(serial_);
    auto shared = std::make_shared<const Json>(std::move(object));
    objects_[resource.plural][kube::KeyOf(*shared)] = shared;
    return shared;
  }

  void Erase(const kube::Resource& resource, const std::string& key) {
    objects_[resource.plural].erase(key);
  }

  // Returns how many writes were carried out.
  int Apply(Plan plan) {
    std::stable_sort(
        plan.writes.begin(), plan.writes.end(),
        [](const Write& a, const Write& b) { return a.stage < b.stage; });
    int count = 0;
    for (const Write& write : plan.writes) {
      log.push_back(Describe(write));
      if (!ApplyOne(write)) break;
      ++count;
      if (write.announce) announced.push_back(write.announce->message);
    }
    return count;
  }

  std::vector<std::string> log;
  std::vector<std::string> announced;

 private:
  bool ApplyOne(const Write& write) {
    std::string key = write.ns.empty() ? write.name
                                       : StrCat(write.ns, "/", write.name);
    if (write.verb == Verb::kCreate) {
      if (!write.name.empty() && Get(*write.resource, key) != nullptr) {
        return false;
      }
      Put(*write.resource, write.body);
      return true;
    }
    Object before = Get(*write.resource, key);
    if (before == nullptr) return true;
    if (write.verb == Verb::kDelete) {
      if (write.uid != Uid(*before)) return true;
      if (write.resource->kind == "Pod" && !write.grace_period_seconds &&
          !Text(*before, {"spec", "nodeName"}).empty()) {
        Json terminating = *before;
        terminating["metadata"]["deletionTimestamp"] =
            Timestamp(now + absl::Seconds(30));
        Put(*write.resource, std::move(terminating));
      } else {
        Erase(*write.resource, key);
      }
      return true;
    }
    if (Text(write.body, {"metadata", "resourceVersion"}) !=
        Text(*before, {"metadata", "resourceVersion"})) {
      return false;
    }
    Json after = *before;
    if (write.verb == Verb::kUpdateStatus) {
      after["status"] = write.body["status"];
    } else if (write.verb == Verb::kMergePatch ||
               write.verb == Verb::kMergePatchStatus) {
      after.merge_patch(write.body);
    } else {
      after = write.body;
    }
    if (after.value("spec", Json()) != before->value("spec", Json())) {
      after["metadata"]["generation"] = Generation(*before) + 1;
    }
    Put(*write.resource, std::move(after));
    return true;
  }

  std::map<std::string, std::map<std::string, Object>> objects_;
  int serial_ = 0;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_TESTS_UNIT_FAKE_CLUSTER_H_
