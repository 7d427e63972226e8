// SPDX-License-Identifier: Apache-2.0
// Opening, restarting, attaching and cleaning up, on the real kernel.
#include "userspace/datapath/datapath.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/harness/sockets.h"
#include "tests/prog/service_world.h"
#include "userspace/base/strings.h"

namespace fairlead::datapath {
namespace {

using harness::Connect;
using harness::OpenServer;
using harness::OpenSocket;
using harness::PeerName;
using harness::SendTo;
using harness::Server;
using harness::ServiceWorld;
using harness::SocketFamily;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

#define ASSERT_OK(expr)                         \
  do {                                          \
    absl::Status ok_status_ = (expr);           \
    ASSERT_TRUE(ok_status_.ok()) << ok_status_; \
  } while (false)

const L4Address kService{*IpAddress::Parse("10.96.0.1"), 80, Protocol::kUdp};

uint32_t PinnedMapId(const PinLayout& layout, std::string_view name) {
  absl::StatusOr<PinnedMap> map = OpenPinnedMap(layout, name);
  EXPECT_TRUE(map.ok()) << map.status();
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  EXPECT_EQ(bpf_obj_get_info_by_fd(map->fd.get(), &info, &size), 0);
  return info.id;
}

struct LinkState {
  uint32_t link_id = 0;
  uint32_t program_id = 0;
  bool operator==(const LinkState&) const = default;
};
LinkState PinnedLink(const std::string& path) {
  UniqueFd link(bpf_obj_get(path.c_str()));
  EXPECT_TRUE(link.valid()) << path;
  bpf_link_info info = {};
  uint32_t size = sizeof(info);
  EXPECT_EQ(bpf_obj_get_info_by_fd(link.get(), &info, &size), 0);
  return {info.id, info.prog_id};
}

// The folders of pinned programs.
std::vector<std::string> ProgramSets(const PinLayout& layout) {
  absl::StatusOr<std::vector<std::string>> names =
      ListDirectory(layout.version_dir());
  EXPECT_TRUE(names.ok()) << names.status();
  std::vector<std::string> sets;
  for (const std::string& name : *names) {
    if (name.starts_with("programs_")) {
      sets.push_back(StrCat(layout.version_dir(), "/", name));
    }
  }
  return sets;
}

// Another map of the same kind is pinned in its place.
void ReplaceMap(const std::string& path) {
  UniqueFd old(bpf_obj_get(path.c_str()));
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  ASSERT_EQ(bpf_obj_get_info_by_fd(old.get(), &info, &size), 0);
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = info.map_flags);
  UniqueFd made(bpf_map_create(static_cast<bpf_map_type>(info.type), info.name,
                               info.key_size, info.value_size,
                               info.max_entries, &options));
  ASSERT_TRUE(made.valid());
  ASSERT_OK(RemovePin(path));
  ASSERT_EQ(bpf_obj_pin(made.get(), path.c_str()), 0);
}

class DatapathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<ServiceWorld>> world =
        ServiceWorld::Create();
    ASSERT_TRUE(world.ok()) << world.status();
    world_ = *std::move(world);
  }

  // Where OpenDatapath() puts what it makes.
  PinLayout Layout() const {
    return PinLayout(world_->pin_root(), VersionName(world_->options().sizes));
  }
  // One server behind kService.
  Server Publish() {
    absl::StatusOr<Server> server =
        OpenServer(*IpAddress::Parse("127.0.0.1"), Protocol::kUdp);
    EXPECT_TRUE(server.ok()) << server.status();
    absl::StatusOr<uint32_t> id = world_->AddBackend(server->address);
    EXPECT_TRUE(id.ok()) << id.status();
    absl::Status status = world_->PutService(kService, {*id});
    EXPECT_TRUE(status.ok()) << status;
    return *std::move(server);
  }

  Options OtherConfig() const {
    Options options = world_->options();
    options.config.event_sample += 7;
    return options;
  }

  int ConnectOnce() {
    UniqueFd client = OpenSocket(kService, SocketFamily::kNative);
    return Connect(client.get(), kService, SocketFamily::kNative);
  }

  // A device that carries no traffic of anybody else's. Returns its index.
  int AddVeth() {
    EXPECT_TRUE(world_->netns()
                    .Command("ip link add fl0 type veth peer name fl1")
                    .ok());
    absl::StatusOr<int> index = harness::DeviceIndex(world_->netns(), "fl0");
    EXPECT_TRUE(index.ok()) << index.status();
    return *index;
  }
  std::string DeviceFilters() {
    return *world_->netns().Command(
        "tc filter show dev fl0 ingress; tc filter show dev fl0 egress");
  }

  std::unique_ptr<ServiceWorld> world_;
};

TEST_F(DatapathTest, ARestartReusesMapsAndLinksAndTrafficGoesOn) {
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_FALSE(world_->datapath().restarted());
  Server server = Publish();
  const PinLayout layout = Layout();
  uint32_t map_id = PinnedMapId(layout, "fl_service");
  LinkState link = PinnedLink(layout.CgroupLinkPath("fl_connect4"));
  ASSERT_EQ(ConnectOnce(), 0);

  world_->CloseDatapath();
  EXPECT_EQ(ConnectOnce(), 0);  // without any agent

  // A stream of connections while the programs are being replaced.
  std::atomic<bool> stop = false;
  std::atomic<int> failures = 0, connections = 0;
  std::thread client([&] {
    while (!stop) {
      if (ConnectOnce() != 0) ++failures;
      ++connections;
    }
  });
  Options changed = world_->options();
  changed.config.node_port_max = 31000;
  for (int i = 0; i < 3; ++i) {
    absl::Status opened = world_->OpenDatapath(changed);
    EXPECT_TRUE(opened.ok()) << opened;
  }
  stop = true;
  client.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(connections, 0);

  EXPECT_TRUE(world_->datapath().restarted());
  EXPECT_EQ(PinnedMapId(layout, "fl_service"), map_id);
  EXPECT_EQ(world_->maps().capacity().services, 1024u);
  LinkState after = PinnedLink(layout.CgroupLinkPath("fl_connect4"));
  EXPECT_EQ(after.link_id, link.link_id);
  EXPECT_NE(after.program_id, link.program_id);
  EXPECT_EQ(ConnectOnce(), 0);
}

TEST_F(DatapathTest, OtherSizesAreOtherMapsWithWhatWasInThese) {
  ASSERT_OK(world_->OpenDatapath());
  Server server = Publish();
  const PinLayout before = Layout();
  const LinkState link = PinnedLink(before.CgroupLinkPath("fl_connect4"));
  Options larger = world_->options();
  larger.sizes.services = 2048;
  ASSERT_OK(world_->OpenDatapath(larger));
  const auto& upgrade = world_->datapath().upgrade();
  ASSERT_TRUE(upgrade.has_value());
  EXPECT_EQ(upgrade->from, before.version_dir());
  EXPECT_EQ(upgrade->status, absl::OkStatus());
  EXPECT_EQ(world_->maps().capacity().services, 2048u);
  EXPECT_EQ(ConnectOnce(), 0);
  EXPECT_FALSE(std::filesystem::exists(before.version_dir()));
  EXPECT_EQ(PinnedLink(world_->datapath().layout().CgroupLinkPath(
                           "fl_connect4"))
                .link_id,
            link.link_id);
  // And back.
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_EQ(world_->maps().capacity().services, 1024u);
  EXPECT_EQ(ConnectOnce(), 0);
}

TEST_F(DatapathTest, AnotherCgroupReplacesTheFirst) {
  ASSERT_OK(world_->OpenDatapath());
  Server server = Publish();
  absl::StatusOr<harness::CgroupScope> other = harness::CgroupScope::Create();
  ASSERT_TRUE(other.ok()) << other.status();
  Options moved = world_->options();
  moved.cgroup_root = other->path();
  ASSERT_OK(world_->OpenDatapath(moved));
  EXPECT_EQ(ConnectOnce(), ENETUNREACH);  // we are in the first
  Options none = world_->options();
  none.cgroup_root = std::nullopt;
  ASSERT_OK(world_->OpenDatapath(none));
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_EQ(ConnectOnce(), 0);
}

TEST_F(DatapathTest, DevicesAreAttachedReplacedInPlaceAndDetached) {
  ASSERT_OK(world_->OpenDatapath());
  int device = AddVeth();
  ASSERT_OK(world_->datapath().AttachDevice(device));
  const PinLayout layout = Layout();
  std::string pin = layout.TcxLinkPath(device, Direction::kIngress);
  LinkState first = PinnedLink(pin);
  ASSERT_OK(world_->datapath().AttachDevice(device));
  EXPECT_EQ(PinnedLink(pin), first);
  ASSERT_OK(world_->OpenDatapath(OtherConfig()));
  EXPECT_EQ(PinnedLink(pin).link_id, first.link_id);
  EXPECT_NE(PinnedLink(pin).program_id, first.program_id);
  EXPECT_THAT(*world_->datapath().AttachedDevices(), ElementsAre(device));

  ASSERT_OK(world_->datapath().DetachDevice(device));
  ASSERT_OK(world_->datapath().DetachDevice(device));
  EXPECT_THAT(*world_->datapath().AttachedDevices(), IsEmpty());
  EXPECT_FALSE(world_->datapath().AttachDevice(999999).ok());
  EXPECT_THAT(*world_->datapath().AttachedDevices(), IsEmpty());
}

TEST_F(DatapathTest, ProgramsThatNothingChangedAreKept) {
  const PinLayout layout = Layout();
  const auto sets = [&] { return ProgramSets(layout); };
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_FALSE(world_->datapath().kept_programs());
  const std::vector<std::string> first = sets();
  EXPECT_EQ(first.size(), 1u);
  Server server = Publish();
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_TRUE(world_->datapath().kept_programs());
  EXPECT_EQ(sets(), first);
  EXPECT_EQ(ConnectOnce(), 0);

  // Another set of constants: other programs, and one set is kept.
  ASSERT_OK(world_->OpenDatapath(OtherConfig()));
  EXPECT_FALSE(world_->datapath().kept_programs());
  EXPECT_EQ(sets().size(), 1u);
  EXPECT_NE(sets(), first);
  ASSERT_OK(world_->OpenDatapath(OtherConfig()));
  EXPECT_TRUE(world_->datapath().kept_programs());

  // Those count in a map that nobody looks at any more.
  world_->CloseDatapath();
  ReplaceMap(layout.MapPath("fl_counter"));
  ASSERT_OK(world_->OpenDatapath(OtherConfig()));
  EXPECT_FALSE(world_->datapath().kept_programs());
  EXPECT_EQ(ConnectOnce(), 0);
  EXPECT_EQ((*world_->Counters())["socket_translated"], 1u);
}

TEST_F(DatapathTest, ASetOfProgramsThatACrashLeftHalfPinnedIsNotTaken) {
  const PinLayout layout = Layout();
  ASSERT_OK(world_->OpenDatapath());
  world_->CloseDatapath();
  const std::vector<std::string> sets = ProgramSets(layout);
  ASSERT_EQ(sets.size(), 1u);
  ASSERT_OK(RemovePin(sets[0] + "/fl_connect4"));
  ASSERT_EQ(rename(sets[0].c_str(), layout.ProgramsDir("new").c_str()), 0);
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_FALSE(world_->datapath().kept_programs());
  EXPECT_FALSE(std::filesystem::exists(layout.ProgramsDir("new")));
  Server server = Publish();
  EXPECT_EQ(ConnectOnce(), 0);
}

TEST_F(DatapathTest, TheProgramsSeeTheDevicesPackets) {
  ASSERT_OK(world_->OpenDatapath());
  int device = AddVeth();
  ASSERT_OK(world_->datapath().AttachDevice(device));
  ASSERT_TRUE(world_->netns()
                  .Command("ip link set fl0 up; ip link set fl1 up; "
                           "ip addr add 10.7.0.1/24 dev fl0; "
                           "ip neigh add 10.7.0.9 lladdr 02:00:00:00:00:09 "
                           "dev fl0")
                  .ok());
  L4Address peer{*IpAddress::Parse("10.7.0.9"), 9, Protocol::kUdp};
  UniqueFd client = OpenSocket(peer, SocketFamily::kNative);
  uint64_t before = (*world_->Counters())["not_ours"];
  ASSERT_EQ(SendTo(client.get(), peer, SocketFamily::kNative, "x"),
            0);
  // The sendmsg hook, and the device's egress.
  EXPECT_TRUE(harness::Eventually(
      [&] { return (*world_->Counters())["not_ours"] >= before + 2; }));
}

TEST_F(DatapathTest, DropEventsAreDelivered) {
  Options options = world_->options();
  options.config.event_sample = 1;
  ASSERT_OK(world_->OpenDatapath(options));
  fl_service drop = {};
  // The client's socket is in the cgroup, too: it must be declined there.
  drop.flags = uint32_t{FL_VERDICT_DROP} << FL_SERVICE_INTERNAL_VERDICT_SHIFT |
               uint32_t{FL_VERDICT_DROP} << FL_SERVICE_EXTERNAL_VERDICT_SHIFT;
  ASSERT_OK(world_->PutService(kService, {}, drop));
  absl::StatusOr<harness::NetnsScope> outside = harness::NetnsScope::Create();
  ASSERT_TRUE(outside.ok()) << outside.status();
  ASSERT_OK(harness::AddVethPair(world_->netns(), "fl0", *outside, "fl1"));
  ASSERT_TRUE(world_->netns().Command("ip addr add 10.7.0.1/24 dev fl0").ok());
  ASSERT_TRUE(outside
                  ->Command("ip addr add 10.7.0.2/24 dev fl1; "
                            "ip route add 10.96.0.0/16 via 10.7.0.1")
                  .ok());
  ASSERT_OK(world_->datapath().AttachDevice(
      *harness::DeviceIndex(world_->netns(), "fl0")));

  absl::Mutex mutex;
  std::vector<std::string> events;
  auto reader = world_->datapath().ReadEvents([&](const fl_event& event) {
    absl::MutexLock lock(&mutex);
    events.push_back(ToString(event));
  });
  ASSERT_TRUE(reader.ok()) << reader.status();
  L4Address from;
  ASSERT_OK(outside->Run([&] {
    UniqueFd client = OpenSocket(kService, SocketFamily::kNative);
    if (SendTo(client.get(), kService, SocketFamily::kNative, "x") != 0) {
      return absl::InternalError("sendto failed");
    }
    from = *harness::LocalName(client.get());
    return absl::OkStatus();
  }));
  EXPECT_TRUE(harness::Eventually([&] {
    absl::MutexLock lock(&mutex);
    return !events.empty();
  }));
  reader->reset();
  EXPECT_THAT(events,
              ElementsAre(AllOf(
                  HasSubstr("drop_policy 10.7.0.2:"),
                  HasSubstr(StrCat(from.port, " -> 10.96.0.1:80/UDP")),
                  HasSubstr("service=1 "))));
  EXPECT_EQ((*world_->Counters())["drop_policy"], 1u);
}

TEST_F(DatapathTest, PinsOfDevicesThatAreGoneAreRemoved) {
  ASSERT_OK(world_->OpenDatapath());
  int device = AddVeth();
  ASSERT_OK(world_->datapath().AttachDevice(device));
  ASSERT_TRUE(world_->netns().Command("ip link del fl0").ok());
  EXPECT_THAT(*world_->datapath().AttachedDevices(), ElementsAre(device));
  ASSERT_OK(world_->datapath().PruneDevices());
  EXPECT_THAT(*world_->datapath().AttachedDevices(), IsEmpty());
  // A new device with the old index, the pins still there.
  auto add = StrCat("ip link add fl0 index ", device,
                    " type veth peer name fl1");
  ASSERT_TRUE(world_->netns().Command(add).ok());
  ASSERT_OK(world_->datapath().AttachDevice(device));
  ASSERT_TRUE(world_->netns().Command("ip link del fl0; " + add).ok());
  ASSERT_OK(world_->datapath().AttachDevice(device));
  ASSERT_OK(world_->datapath().PruneDevices());
  EXPECT_THAT(*world_->datapath().AttachedDevices(), ElementsAre(device));
}

TEST_F(DatapathTest, ClsactWhereThereIsNoTcx) {
  Options options = world_->options();
  options.tc_mode = TcMode::kClsact;
  ASSERT_OK(world_->OpenDatapath(options));
  int device = AddVeth();
  ASSERT_OK(world_->datapath().AttachDevice(device));
  std::string first = DeviceFilters();
  EXPECT_THAT(first, HasSubstr("fl_tc_ingress"));
  EXPECT_THAT(first, HasSubstr("fl_tc_egress"));
  options.config.event_sample = 7;
  ASSERT_OK(world_->OpenDatapath(options));  // replaced, not added
  std::string second = DeviceFilters();
  EXPECT_NE(second, first);
  EXPECT_EQ(std::count(second.begin(), second.end(), '\n'),
            std::count(first.begin(), first.end(), '\n'));
  // The kernel has learnt tcx.
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_THAT(DeviceFilters(), Not(HasSubstr("fl_tc_")));
  ASSERT_OK(world_->OpenDatapath(options));
  EXPECT_THAT(DeviceFilters(), HasSubstr("fl_tc_ingress"));
  ASSERT_OK(Cleanup(world_->pin_root()));
  EXPECT_THAT(DeviceFilters(), Not(HasSubstr("fl_tc_")));
}

TEST_F(DatapathTest, CleanupRemovesEverythingAndCanBeRepeated) {
  ASSERT_OK(Cleanup(world_->pin_root()));  // nothing there
  ASSERT_OK(world_->OpenDatapath());
  Server server = Publish();
  int device = AddVeth();
  ASSERT_OK(world_->datapath().AttachDevice(device));
  std::filesystem::create_directories(world_->pin_root() + "/v999/links");
  ASSERT_EQ(ConnectOnce(), 0);
  ASSERT_OK(Cleanup(world_->pin_root()));  // with the agent still there
  EXPECT_EQ(ConnectOnce(), ENETUNREACH);
  EXPECT_FALSE(std::filesystem::exists(world_->pin_root()));
  ASSERT_OK(Cleanup(world_->pin_root()));
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_FALSE(world_->datapath().restarted());
}

TEST_F(DatapathTest, AnotherVersionIsReplaced) {
  PinLayout old(world_->pin_root(), "v999");
  ASSERT_OK(old.CreateDirectories());
  ASSERT_OK(world_->OpenDatapath());
  EXPECT_FALSE(std::filesystem::exists(old.version_dir()));
}

TEST_F(DatapathTest, AMapOfAnotherLayoutIsRefusedUntouched) {
  const PinLayout layout = Layout();
  ASSERT_OK(layout.CreateDirectories());
  UniqueFd map(bpf_map_create(BPF_MAP_TYPE_HASH, "fl_service", 4, 4, 8,
                              nullptr));
  ASSERT_TRUE(map.valid());
  std::string path = layout.MapPath("fl_service");
  ASSERT_EQ(bpf_obj_pin(map.get(), path.c_str()), 0);
  absl::Status status = world_->OpenDatapath();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--cleanup"));
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(DatapathTest, TablesReadBackWhatWasWritten) {
  ASSERT_OK(world_->OpenDatapath());
  Server server = Publish();
  KernelMaps& maps = world_->maps();
  int services = 0;
  ASSERT_OK(maps.ForEachService(
      [&](const fl_service_key&, const fl_service& service) {
        ++services;
        EXPECT_EQ(service.internal.count, 1u);
      }));
  EXPECT_EQ(services, 1);
  std::vector<uint32_t> slots(2);
  ASSERT_OK(maps.ReadSlots(1, absl::MakeSpan(slots)));
  EXPECT_THAT(slots, ElementsAre(1, 0));
  EXPECT_FALSE(maps.ReadSlots(maps.capacity().slots - 1,
                              absl::MakeSpan(slots)).ok());
  EXPECT_FALSE(maps.PutSlots(maps.capacity().slots, {1}).ok());
  EXPECT_FALSE(maps.PutBackend(0, {}).ok());
  EXPECT_FALSE(maps.SetBackendState(maps.capacity().backends, 1).ok());
  EXPECT_FALSE(
      maps.SetFilterBit(reconcile::Filter::kBackends, FL_FILTER_BITS).ok());
  std::vector<uint64_t> words(FL_FILTER_WORDS);
  ASSERT_OK(maps.ReadFilter(reconcile::Filter::kFrontends,
                            absl::MakeSpan(words)));
  int bits = 0;
  for (uint64_t word : words) bits += __builtin_popcountll(word);
  EXPECT_EQ(bits, 1);

  fl_source_range_key range = {};
  range.prefix_bits = 32 + 96 + 8;
  range.service_id = htonl(1);
  range.prefix = {{0, 0, htonl(0xffff), htonl(0x0a000000)}};
  ASSERT_OK(maps.PutSourceRange(range));
  int ranges = 0;
  ASSERT_OK(maps.ForEachSourceRange(
      [&](const fl_source_range_key& key) { 
        ++ranges;
        EXPECT_EQ(memcmp(&key, &range, sizeof(key)), 0);
      }));
  EXPECT_EQ(ranges, 1);
  EXPECT_THAT(*world_->Dump("source_range"),
              ElementsAre("source_range 10.0.0.0/8 service=1"));
  ASSERT_OK(maps.DeleteSourceRange(range));
  ASSERT_OK(maps.DeleteSourceRange(range));
  EXPECT_THAT(*world_->Dump("source_range"), IsEmpty());
  EXPECT_THAT(*world_->Dump("fl_slot"), ElementsAre("slot 1 backend=1"));
  EXPECT_THAT(*world_->Dump("service"),
              ElementsAre("service 10.96.0.1:80/UDP id=1 internal=[1,2) "
                          "external=[1,2) affinity=0 flags=none"));
  EXPECT_THAT(*world_->Dump("backend"),
              ElementsAre(StrCat("backend 1 address=",
                                 server.address.ToString(),
                                 " state=on generation=1 weight=1")));
  EXPECT_FALSE(world_->Dump("nonsense").ok());
  absl::StatusOr<std::vector<MapFill>> fills =
      world_->datapath().inspector().Fill();
  ASSERT_TRUE(fills.ok()) << fills.status();
  for (const MapFill& fill : *fills) {
    bool one = fill.name == "fl_service" || fill.name == "fl_slot" ||
               fill.name == "fl_backend";
    EXPECT_EQ(fill.entries, one ? 1u : 0u) << fill.name;
    EXPECT_GE(fill.max_entries, fill.entries);
  }
}

TEST_F(DatapathTest, AFullMapSaysSo) {
  ASSERT_OK(world_->OpenDatapath());
  fl_service_key key = {};
  absl::Status status;
  for (uint32_t i = 0; i <= 1024 && status.ok(); ++i) {
    key.addr.w[3] = i;
    status = world_->maps().PutService(key, {});
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

// ---- missing requirements: one message each, nothing touched ----

TEST_F(DatapathTest, ARootThatIsNoBpfFileSystem) {
  absl::StatusOr<harness::TempDirScope> dir = harness::TempDirScope::Create();
  ASSERT_TRUE(dir.ok());
  Options options = world_->options();
  options.pin_root = dir->path() + "/fairlead";
  absl::Status status = Datapath::Open(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("mount -t bpf"));
  EXPECT_FALSE(std::filesystem::exists(options.pin_root));
}

TEST_F(DatapathTest, ACgroupRootThatIsNoCgroup2) {
  Options options = world_->options();
  for (const char* path : {"/tmp", "/nonexistent/cgroup"}) {
    options.cgroup_root = path;
    absl::Status status = Datapath::Open(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cgroup"));
    EXPECT_FALSE(std::filesystem::exists(options.pin_root));
  }
}

TEST_F(DatapathTest, WithoutPrivileges) {
  // In a child: capabilities don't come back.
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  pid_t child = fork();
  if (child == 0) {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    syscall(SYS_capset, &header, none);
    std::string text = Datapath::Open(world_->options()).status().ToString();
    (void)!write(pipe_fds[1], text.data(), text.size());
    _exit(0);
  }
  close(pipe_fds[1]);
  char text[1024] = {};
  EXPECT_GT(read(pipe_fds[0], text, sizeof(text) - 1), 0);
  close(pipe_fds[0]);
  waitpid(child, nullptr, 0);
  EXPECT_THAT(text, HasSubstr("PERMISSION_DENIED"));
  EXPECT_THAT(text, HasSubstr("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"));
  EXPECT_FALSE(std::filesystem::exists(world_->pin_root()));
}

}  // namespace
}  // namespace fairlead::datapath
