// SPDX-License-Identifier: Apache-2.0
// Sets of names as small numbers: a hundred thousand endpoints name a few
// nodes and zones over and over.
//
// A number stays valid for ever: names are not forgotten, there are only as
// many as the cluster has had nodes and combinations of zones.
// Threads: one at a time.
#ifndef FAIRLEAD_USERSPACE_MODEL_NAME_SETS_H_
#define FAIRLEAD_USERSPACE_MODEL_NAME_SETS_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace fairlead::model {

class NameSets {
 public:
  static constexpr uint32_t kEmptySet = 0;

  // `own` is the name that Includes() asks for; "" is in no set.
  explicit NameSets(std::string own) : own_(std::move(own)) { Intern(
      std::vector<std::string>()); }

  void SetOwn(std::string own) {
    own_ = std::move(own);
    for (const auto& [names, id] : ids_) includes_[id] = Matches(names);
  }

  // The set of one name. Lists name the same few over and over.
  uint32_t Intern(const std::string& name) {
    auto it = singles_.find(name);
    if (it != singles_.end()) return it->second;
    return singles_[name] = Intern(std::vector<std::string>{name});
  }

  uint32_t Intern(const std::vector<std::string>& names) {
    if (names.empty() && !includes_.empty()) return kEmptySet;
    auto [it, inserted] = ids_.try_emplace(names, ids_.size());
    if (inserted) includes_.push_back(Matches(names));
    return it->second;
  }

  // Is this node's own name in the set?
  bool Includes(uint32_t set) const { return includes_[set]; }

 private:
  bool Matches(const std::vector<std::string>& names) const {
    return !own_.empty() &&
           std::find(names.begin(), names.end(), own_) != names.end();
  }

  std::string own_;
  absl::flat_hash_map<std::vector<std::string>, uint32_t> ids_;
  absl::flat_hash_map<std::string, uint32_t> singles_;  // of ids_
  std::vector<bool> includes_;  // by id
};

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_NAME_SETS_H_
