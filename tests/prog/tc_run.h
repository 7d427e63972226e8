// SPDX-License-Identifier: Apache-2.0
// The packet path's programs, loaded into this kernel, with small maps of
// their own, and run on one frame at a time (BPF_PROG_RUN).
//
// Single-threaded. Programs and maps go away with the object; nothing is
// pinned or attached.
#ifndef FAIRLEAD_TESTS_PROG_TC_RUN_H_
#define FAIRLEAD_TESTS_PROG_TC_RUN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/abi/types.h"
#include "tests/prog/packet.h"
#include "userspace/datapath/flow_table.h"

struct tc;

namespace fairlead::prog {

fl_addr Addr(const std::string& text);
fl_prefix Prefix(const std::string& text, int bits);  // of 128
std::string CounterName(uint32_t id);

inline constexpr uint32_t kMark = 1u << 14;
inline constexpr uint16_t kSourcePortMin = 61000;
inline constexpr uint16_t kSourcePortMax = 61007;

// The world of the rows; see TcRun::DefaultConfig.
inline constexpr char kMasquerade4[] = "203.0.113.1";
inline constexpr char kMasquerade6[] = "2001:db8:3::1";

enum class Hook { kIngress, kEgress, kIngressL3, kEgressL3 };

struct Result {
  int action = 0;  // TC_ACT_*
  uint32_t mark = 0;
  packet::Bytes frame;
  // Exactly one name, or the program has broken the rule of counting once.
  std::vector<std::string> counters;
};

struct Frontend {
  std::string address;
  uint16_t port = 80;
  uint8_t protocol = 6;
  std::vector<uint32_t> backends = {};           // the internal selection
  std::optional<std::vector<uint32_t>> external = {};  // default: the same
  uint32_t flags = 0;
  fl_verdict internal_verdict = FL_VERDICT_FORWARD;
  fl_verdict external_verdict = FL_VERDICT_FORWARD;
  uint32_t id = 1;
};

class TcRun {
 public:
  static fl_config DefaultConfig();
  static std::vector<std::string> DefaultServiceRanges();
  // As many as there may be, far from each other.
  static std::vector<std::string> ManyServiceRanges();
  // Aborts with libbpf's message if the programs don't load.
  explicit TcRun(const fl_config& config = DefaultConfig(), int flows = 4096);
  ~TcRun();
  TcRun(const TcRun&) = delete;

  // Empties the flow table and forgets frontends, backends and counts.
  void Clear();
  void AddBackend(uint32_t id, const std::string& address, uint16_t port,
                  uint8_t protocol, fl_backend_state state = FL_BACKEND_ON,
                  uint32_t generation = 1);
  void SetBackendState(uint32_t id, fl_backend_state state);
  void AddFrontend(const Frontend& frontend);
  void AddNodeAddress(const std::string& address, uint32_t flags);
  // This node's pods among the cluster's: "10.1.1.0", 24. Both families at
  // once; Clear() forgets them.
  void SetNodePods(const std::string& v4, int bits4, const std::string& v6,
                   int bits6);
  // The ranges of ClusterIPs, as datapath::ChooseServiceRanges has them.
  // Clear() puts the default ones back.
  void SetServiceRanges(const std::vector<std::string>& ranges);
  // All of it, as it is; until Clear().
  void WriteNode(const fl_node& node);
  void SetPodDevice(uint32_t ifindex);
  // Netfilter's, during a takeover.
  void SetForeign(const fl_flow_key& key);
  void AllowSource(uint32_t service_id, const std::string& address, int bits);

  // `checksum_complete`: as if a device had summed up the frame; the kernel
  // then checks that the sum is still right afterwards.
  Result Run(Hook hook, const packet::Bytes& frame, uint32_t mark = 0,
             bool checksum_complete = false);
  // The device that further packets came in through; 0: they are this host's
  // own.
  void set_came_through(uint32_t ifindex) { came_through_ = ifindex; }

  std::optional<fl_flow> Flow(const fl_flow_key& key) const;
  void SetFlow(const fl_flow_key& key, const fl_flow& flow);
  int FlowCount() const;
  void ForEachFlow(
      const std::function<void(const fl_flow_key&, const fl_flow&)>& fn) const;
  int program_fd(Hook hook) const;
  ::tc* skeleton() { return skeleton_; }
  // Drop events since the last call.
  std::vector<fl_event> Events();

 private:
  std::map<std::string, uint64_t> Counters() const;
  void SetFilter(int map_fd, const fl_addr& address, uint16_t port,
                 uint8_t protocol);

  ::tc* skeleton_ = nullptr;
  datapath::FlowTable flows_;
  void* ring_ = nullptr;  // struct ring_buffer
  std::vector<fl_event> events_;
  fl_node node_ = {};
  uint32_t next_slot_ = 0;
  uint32_t came_through_ = 0;
  std::vector<uint32_t> frontend_places_;  // to clear
  std::vector<std::pair<int, uint32_t>> filter_words_;  // to clear
};

}  // namespace fairlead::prog

#endif  // FAIRLEAD_TESTS_PROG_TC_RUN_H_
