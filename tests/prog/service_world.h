// SPDX-License-Identifier: Apache-2.0
// A data path of a test's own: namespace, cgroup, BPF file system, and
// services written straight into the maps. Also used by the benchmarks.
//
// Threads: the test's main thread, which is inside the namespace and the
// cgroup while a world lives.
#ifndef FAIRLEAD_TESTS_PROG_SERVICE_WORLD_H_
#define FAIRLEAD_TESTS_PROG_SERVICE_WORLD_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "tests/harness/scopes.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/datapath.h"

namespace fairlead::harness {

class ServiceWorld {
 public:
  // Everything but the data path: open it with OpenDatapath().
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ServiceWorld>> Create();
  ~ServiceWorld();
  ServiceWorld(const ServiceWorld&) = delete;
  ServiceWorld& operator=(const ServiceWorld&) = delete;

  const NetnsScope& netns() const { return netns_; }
  const CgroupScope& cgroup() const { return cgroup_; }
  // A directory of the BPF file system that doesn't exist yet.
  std::string pin_root() const { return bpffs_.path() + "/fairlead"; }
  // Small maps, this cgroup, NodePorts 30000-32767.
  datapath::Options options() const;

  // Opens again if it is open: a restart.
  [[nodiscard]] absl::Status OpenDatapath(const datapath::Options& options);
  [[nodiscard]] absl::Status OpenDatapath() { return OpenDatapath(options()); }
  void CloseDatapath() { datapath_.reset(); }
  datapath::Datapath& datapath() { return *datapath_; }
  datapath::KernelMaps& maps() { return datapath_->maps(); }

  // A new backend, ON, with this generation. Returns its id.
  [[nodiscard]] absl::StatusOr<uint32_t> AddBackend(const L4Address& address,
                                                    uint32_t generation = 1);
  // Publishes a frontend over these backends. `service.internal` and
  // `.external` are filled in here (both the same) unless `backends` is empty;
  // an id of 0 becomes a new one. Calling it again moves the slots.
  [[nodiscard]] absl::Status PutService(const L4Address& frontend,
                                        const std::vector<uint32_t>& backends,
                                        fl_service service = {});

  // Empties all tables and counters, for the next test with the same data path
  // (loading it costs a second or two). Ids begin at 1 again.
  [[nodiscard]] absl::Status Reset();

  // Counter name -> packets, without zeros.
  [[nodiscard]] absl::StatusOr<std::map<std::string, uint64_t>> Counters();
  // All rows of a map, as lines.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> Dump(
      const std::string& map);

 private:
  ServiceWorld(NetnsScope netns, CgroupScope cgroup, BpffsScope bpffs,
               UniqueFd home)
      : netns_(std::move(netns)),
        cgroup_(std::move(cgroup)),
        bpffs_(std::move(bpffs)),
        home_(std::move(home)) {}

  NetnsScope netns_;
  CgroupScope cgroup_;
  BpffsScope bpffs_;
  UniqueFd home_;  // the network namespace to go back to
  std::unique_ptr<datapath::Datapath> datapath_;
  uint32_t next_backend_ = 1;
  uint32_t next_slot_ = 1;
  uint32_t next_service_ = 1;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_PROG_SERVICE_WORLD_H_
