// SPDX-License-Identifier: Apache-2.0
// Kubernetes objects over a universe so small that everything meets
// everything, and what a mad or hostile writer could make of them: wrong types,
// huge numbers, missing fields, odd addresses, duplicates, bytes that are no
// UTF-8 and no protobuf. Pure, but for the bytes that are drawn from.
#ifndef FAIRLEAD_TESTS_HISTORY_DRAWN_OBJECTS_H_
#define FAIRLEAD_TESTS_HISTORY_DRAWN_OBJECTS_H_

#include <nlohmann/json.hpp>
#include <string>

#include "tests/history/drawn_bytes.h"
#include "userspace/kube/encoded_object.h"

namespace fairlead::history {

using Json = nlohmann::json;

inline constexpr uint32_t kServices = 4;
inline constexpr uint32_t kSlicesPerService = 2;

// Valid ones; `number` names it: "svc-0", "slice-0-1".
Json DrawService(uint32_t number, DrawnBytes* drawn);
Json DrawEndpointSlice(uint32_t service, uint32_t number, DrawnBytes* drawn);
Json DrawNode(DrawnBytes* drawn);
Json DrawServiceCidr(DrawnBytes* drawn);

// What has to become of an object: it is used, or it isn't; then it is told by
// its name, if that can be read.
enum class Judgement { kTaken, kRefused, kNameless };
Judgement JudgeService(const kube::EncodedObject& object);
Judgement JudgeEndpointSlice(const kube::EncodedObject& object);

// Changes something of it, anywhere.
void MutateTree(Json* object, DrawnBytes* drawn);
// Changes some bytes of it.
void MutateBytes(std::string* bytes, DrawnBytes* drawn);

// An object as it is sent. Owns what a view shows.
class SentObject {
 public:
  SentObject() = default;
  // Its text, or its message; an object that has none (its types are wrong) is
  // sent as text.
  SentObject(const Json& object, kube::Encoding encoding);

  void Mutate(DrawnBytes* drawn) { MutateBytes(&bytes_, drawn); }
  // The frame of a watch's event with it, as it is. `kind`, `api_version`: what
  // the envelope of a message says.
  std::string WatchFrame(const std::string& type, const std::string& kind,
                         const std::string& api_version) const;
  // Valid until this is changed.
  kube::EncodedObject view() const;
  std::string ToString() const;

 private:
  kube::Encoding encoding_ = kube::Encoding::kJson;
  std::string bytes_;
  mutable std::string padded_;
};

}  // namespace fairlead::history

#endif  // FAIRLEAD_TESTS_HISTORY_DRAWN_OBJECTS_H_
