// SPDX-License-Identifier: Apache-2.0
// A cluster of any size of what a kube-apiserver 1.36 really sent: a Service
// that was applied and the EndpointSlice that the controller made of it, as
// recorded in protobuf (tests/unit/testdata/kube), with other names, uids,
// addresses and versions, and more endpoints. All other fields are theirs:
// managed fields, annotations, owners, conditions, target references, zones.
// Added to a slice: the trigger time, which the recorded one hasn't.
//
// Threads: any; nothing changes after Load.
#ifndef FAIRLEAD_BENCH_RECORDED_CLUSTER_H_
#define FAIRLEAD_BENCH_RECORDED_CLUSTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "control/api/protobuf_object.h"

namespace fairlead {

class RecordedCluster {
 public:
  // kDataLoss: `objects` doesn't write what was recorded, byte for byte.
  [[nodiscard]] static absl::StatusOr<RecordedCluster> Load(
      const api::ProtobufObjects& objects);

  static std::string ServiceName(int number);
  static std::string SliceName(int number);
  // As JSON. `version`: resourceVersion.
  std::string Service(int number, const std::string& cluster_ip,
                      uint64_t version) const;
  // `addresses`: of its endpoints, the nth on the nth of 200 nodes from some
  // on, in three zones.
  std::string Slice(int number, const std::vector<std::string>& addresses,
                    uint64_t version) const;

 private:
  std::string service_;
  std::string slice_;  // without endpoints
  std::string endpoint_;
};

}  // namespace fairlead

#endif  // FAIRLEAD_BENCH_RECORDED_CLUSTER_H_
