// SPDX-License-Identifier: Apache-2.0
// The built objects' own account of the contract (their BTF) against C++'s:
// maps and structs. Reads files only: needs no privilege.
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <map>
#include <memory>
#include <string>

#include "bpf/abi/types.h"
#include "gtest/gtest.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead {
namespace {

struct ObjectDeleter {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, ObjectDeleter>;

struct MapContract {
  bpf_map_type type;
  uint32_t key_size;
  uint32_t value_size;
  uint32_t max_entries;
  uint32_t flags;
  const char* key;  // the type's name in BTF; "": not a struct
  const char* value;
};

// What KernelMaps and Inspector believe.
const std::map<std::string, MapContract>& Contract() {
  static const auto* contract = new std::map<std::string, MapContract>{
      {"fl_service",
       {BPF_MAP_TYPE_HASH, sizeof(fl_service_key), sizeof(fl_service), 262144,
        BPF_F_NO_PREALLOC, "fl_service_key", "fl_service"}},
      {"fl_frontend",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(fl_frontend), FL_FRONTEND_ENTRIES,
        BPF_F_MMAPABLE, "", "fl_frontend"}},
      {"fl_slot",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(uint32_t), 1 << 20, BPF_F_MMAPABLE, "",
        ""}},
      {"fl_backend",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(fl_backend), 1 << 18, BPF_F_MMAPABLE, "",
        "fl_backend"}},
      {"fl_flow",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(fl_flow_bucket), 1 << 15, BPF_F_MMAPABLE,
        "", "fl_flow_bucket"}},
      {"fl_peer",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(fl_peer), FL_PEER_ENTRIES,
        BPF_F_MMAPABLE, "", "fl_peer"}},
      {"fl_socket",
       {BPF_MAP_TYPE_LRU_HASH, sizeof(fl_socket_key), sizeof(fl_socket),
        1 << 16, 0, "fl_socket_key", "fl_socket"}},
      {"fl_affinity",
       {BPF_MAP_TYPE_LRU_HASH, sizeof(fl_affinity_key), sizeof(fl_affinity),
        1 << 16, 0, "fl_affinity_key", "fl_affinity"}},
      {"fl_source_range",
       {BPF_MAP_TYPE_LPM_TRIE, sizeof(fl_source_range_key), sizeof(uint32_t),
        1 << 16, BPF_F_NO_PREALLOC, "fl_source_range_key", ""}},
      {"fl_foreign",
       {BPF_MAP_TYPE_HASH, sizeof(fl_flow_key), sizeof(uint32_t), 1 << 17,
        BPF_F_NO_PREALLOC, "fl_flow_key", ""}},
      {"fl_node_addr",
       {BPF_MAP_TYPE_HASH, sizeof(fl_addr), sizeof(fl_node_addr), 1024, 0,
        "fl_addr", "fl_node_addr"}},
      {"fl_node",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(fl_node), 1, 0, "", "fl_node"}},
      {"fl_device",
       {BPF_MAP_TYPE_HASH, 4, sizeof(fl_device), 4096, BPF_F_NO_PREALLOC, "",
        "fl_device"}},
      {"fl_counter",
       {BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(fl_counter), FL_COUNTER_MAX, 0,
        "", "fl_counter"}},
      {"fl_event", {BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 20, 0, "", ""}},
      {"fl_filter_fe",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), FL_FILTER_WORDS,
        BPF_F_MMAPABLE, "", ""}},
      {"fl_filter_be",
       {BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), FL_FILTER_WORDS,
        BPF_F_MMAPABLE, "", ""}},
  };
  return *contract;
}

const char* StructName(const btf* types, uint32_t id) {
  const btf_type* type = btf__type_by_id(types, btf__resolve_type(types, id));
  if (type == nullptr || !btf_is_struct(type)) return "";
  return btf__name_by_offset(types, type->name_off);
}

class AbiBtfTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string path = std::string(FAIRLEAD_BINARY_DIR) + "/bpf/" +
                       GetParam() + ".bpf.o";
    object_.reset(bpf_object__open(path.c_str()));
    ASSERT_NE(object_, nullptr) << path;
    types_ = bpf_object__btf(object_.get());
    ASSERT_NE(types_, nullptr);
  }
  Object object_;
  const btf* types_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Objects, AbiBtfTest,
                         ::testing::Values("socket", "tc"),
                         [](const auto& test) { return test.param; });

TEST_P(AbiBtfTest, Maps) {
  bpf_map* map = nullptr;
  int seen = 0;
  bpf_object__for_each_map(map, object_.get()) {
    std::string name = bpf_map__name(map);
    if (name.find('.') != std::string::npos) continue;
    SCOPED_TRACE(name);
    ASSERT_TRUE(Contract().contains(name)) << "not in this test's table";
    const MapContract& contract = Contract().at(name);
    EXPECT_EQ(bpf_map__type(map), contract.type);
    EXPECT_EQ(bpf_map__key_size(map), contract.key_size);
    EXPECT_EQ(bpf_map__value_size(map), contract.value_size);
    EXPECT_EQ(bpf_map__max_entries(map), contract.max_entries);
    EXPECT_EQ(bpf_map__map_flags(map), contract.flags);
    if (contract.key_size != 0) {
      EXPECT_STREQ(StructName(types_, bpf_map__btf_key_type_id(map)),
                   contract.key);
      EXPECT_STREQ(StructName(types_, bpf_map__btf_value_type_id(map)),
                   contract.value);
    }
    ++seen;
  }
  EXPECT_GE(seen, 9);
}

// A type without holes: each member begins where the one before ended. C++
// proves the same by MapPod, and both compile the members from one header, so
// equal sizes mean equal offsets.
void ExpectNoHoles(const btf* types, uint32_t id, const char* name) {
  const btf_type* type = btf__type_by_id(types, id);
  uint64_t end = 0;
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    EXPECT_EQ(btf_member_bitfield_size(type, i), 0u) << name;
    EXPECT_EQ(btf_member_bit_offset(type, i), end * 8)
        << name << "." <<
        btf__name_by_offset(types, btf_members(type)[i].name_off);
    end += static_cast<uint64_t>(
        btf__resolve_size(types, btf_members(type)[i].type));
  }
  EXPECT_EQ(end, type->size) << name;
}

TEST_P(AbiBtfTest, Structs) {
#define FL_CHECK_STRUCT(name)                                              \
  {                                                                        \
    static_assert(datapath::MapPod<struct name>);                          \
    int id = btf__find_by_name_kind(types_, #name, BTF_KIND_STRUCT);       \
    if (id >= 0) {                                                         \
      EXPECT_EQ(btf__type_by_id(types_, static_cast<uint32_t>(id))->size, \
                sizeof(struct name))                                       \
          << #name;                                                        \
      ExpectNoHoles(types_, static_cast<uint32_t>(id), #name);             \
    }                                                                      \
  }
  FL_ABI_STRUCTS(FL_CHECK_STRUCT)
#undef FL_CHECK_STRUCT
}

TEST_P(AbiBtfTest, TheConfigurationIsReadOnlyData) {
  int section = btf__find_by_name_kind(types_, ".rodata", BTF_KIND_DATASEC);
  ASSERT_GE(section, 0);
  const btf_type* type =
      btf__type_by_id(types_, static_cast<uint32_t>(section));
  bool found = false;
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    const btf_var_secinfo& entry = btf_var_secinfos(type)[i];
    const btf_type* variable = btf__type_by_id(types_, entry.type);
    std::string name = btf__name_by_offset(types_, variable->name_off);
    if (name != "fl_config") continue;
    found = true;
    EXPECT_EQ(entry.size, sizeof(struct fl_config));
  }
  EXPECT_TRUE(found);
}

// Every struct of the contract is used by some object, so that the checks
// above are not vacuous.
TEST(AbiBtfCoverageTest, EveryStructIsSeenSomewhere) {
  std::map<std::string, int> seen;
  for (const char* name : {"socket", "tc"}) {
    std::string path =
        std::string(FAIRLEAD_BINARY_DIR) + "/bpf/" + name + ".bpf.o";
    Object object(bpf_object__open(path.c_str()));
    ASSERT_NE(object, nullptr);
#define FL_COUNT_STRUCT(type)                                            \
  seen[#type] += btf__find_by_name_kind(bpf_object__btf(object.get()), \
                                        #type, BTF_KIND_STRUCT) >= 0;
    FL_ABI_STRUCTS(FL_COUNT_STRUCT)
#undef FL_COUNT_STRUCT
  }
  for (const auto& [type, count] : seen) EXPECT_GE(count, 1) << type;
}

}  // namespace
}  // namespace fairlead
