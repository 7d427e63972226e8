// SPDX-License-Identifier: Apache-2.0
// Single situations that random histories seldom meet: full maps, leftovers
// that make no sense, what status calls say.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden/fake_maps.h"
#include "userspace/base/strings.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::reconcile {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

class ReconcileTest : public ::testing::Test {
 protected:
  ReconcileTest() : cluster_(model::NodeConfig{.name = "node-1"}) {}

  void PutService(int index, int endpoints) {
    PutPorts(index, {{"p", Protocol::kTcp, 80, 0}});
    PutEndpoints(index, endpoints);
  }
  void PutPorts(int index, const std::vector<kube::ServicePort>& ports) {
    kube::Service s;
    s.meta = {"ns", StrCat("svc-", index), "", ""};
    s.cluster_ips = {Ip(StrCat("10.96.0.", index))};
    s.ports = ports;
    cluster_.PutService(s);
  }
  void PutEndpoints(int index, int count) {
    kube::EndpointSlice slice;
    slice.meta = {"ns", StrCat("slice-", index), "", ""};
    slice.service_name = StrCat("svc-", index);
    slice.family = IpFamily::kIpv4;
    slice.ports = {{"p", Protocol::kTcp, 8080}, {"q", Protocol::kTcp, 8080}};
    for (int i = 1; i <= count; ++i) {
      kube::Endpoint e;
      e.address = Ip(StrCat("10.244.", index, ".", i));
      slice.endpoints.push_back(e);
    }
    cluster_.PutEndpointSlice(slice);
  }
  static L4Address Vip(int index) {
    return {Ip(StrCat("10.96.0.", index)), 80, Protocol::kTcp};
  }
  static MapSet::Capacity Capacity(uint32_t services, uint32_t slots,
                                   uint32_t backends) {
    return {services, slots, backends, 10, 10};
  }

  model::Cluster cluster_;
};

TEST_F(ReconcileTest, AFullMapFailsThatServiceOnly) {
  const struct {
    MapSet::Capacity capacity;
    const char* what;
  } rows[] = {
      {Capacity(10, 9, 100), "slots"},
      {Capacity(10, 100, 10), "backend id"},
  };
  for (const auto& row : rows) {
    FakeMaps maps(row.capacity);
    Reconciler reconciler(&maps, {});
    ASSERT_TRUE(reconciler.Restore().ok());
    PutService(1, 3);
    PutService(2, 7);
    PutService(3, 3);
    const ApplyResult result =
        reconciler.Apply(&cluster_, absl::ZeroDuration());
    ASSERT_EQ(result.failures.size(), 1u);
    EXPECT_EQ(result.failures[0].service, "ns/svc-2");
    EXPECT_EQ(result.failures[0].status.code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(result.failures[0].status.message()),
                HasSubstr(row.what));
    EXPECT_NE(maps.FindService(Vip(1)), nullptr);
    EXPECT_EQ(maps.FindService(Vip(2)), nullptr);
    EXPECT_NE(maps.FindService(Vip(3)), nullptr);
    EXPECT_TRUE(cluster_.has_dirty());
    // What it asked for in vain isn't lost: with less, it fits.
    PutEndpoints(2, 3);
    EXPECT_TRUE(reconciler.Apply(&cluster_, absl::Seconds(1)).ok());
    EXPECT_NE(maps.FindService(Vip(2)), nullptr);
    for (int i = 1; i <= 3; ++i) {
      cluster_.DeleteService(StrCat("ns/svc-", i));
    }
  }
}

TEST_F(ReconcileTest, AFullServiceMapIsRetriedWhenThereIsRoom) {
  // A frontend and its address' mark.
  FakeMaps maps(Capacity(2, 100, 100));
  Reconciler reconciler(&maps, {});
  ASSERT_TRUE(reconciler.Restore().ok());
  PutService(1, 2);
  PutService(2, 2);
  const ApplyResult result =
      reconciler.Apply(&cluster_, absl::ZeroDuration());
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_THAT(std::string(result.failures[0].status.message()),
              HasSubstr("fl_service is full"));
  cluster_.DeleteService("ns/svc-1");
  // The put comes before the delete: this time still no room.
  reconciler.Apply(&cluster_, absl::ZeroDuration());
  EXPECT_TRUE(reconciler.Apply(&cluster_, absl::ZeroDuration()).ok());
  EXPECT_NE(maps.FindService(Vip(2)), nullptr);
}

TEST_F(ReconcileTest, LeftoversThatMakeNoSenseAreReplaced) {
  FakeMaps maps(Capacity(10, 100, 100));
  auto put = [&maps](int index, fl_selection range) {
    fl_service value = {};
    value.internal = value.external = range;
    value.id = 7;
    ASSERT_TRUE(maps.PutService(ToServiceKey(Vip(index)), value).ok());
  };
  put(1, {0, 4});        // slots that name no backend
  put(2, {2, 4});        // overlaps
  put(3, {98, 4});       // beyond the end
  put(4, {0, 4000000});  // far beyond
  put(5, {10, 0});       // forwards to nothing
  ASSERT_TRUE(maps.PutSlots(0, std::vector<uint32_t>{5, 0, 99, 4000000}).ok());
  Reconciler reconciler(&maps, {});
  ASSERT_TRUE(reconciler.Restore().ok());
  for (int i = 1; i <= 4; ++i) PutService(i, 2);
  EXPECT_TRUE(reconciler.Apply(&cluster_, absl::ZeroDuration()).ok());
  EXPECT_THAT(CheckReadable(maps), IsEmpty());
  EXPECT_EQ(maps.FindService(Vip(5)), nullptr);
  EXPECT_THAT(DumpMaps(maps, false),
              Contains("service 10.96.0.3:80/TCP "
                       "internal=[10.244.3.1:8080/TCP 10.244.3.2:8080/TCP] "
                       "external=[10.244.3.1:8080/TCP 10.244.3.2:8080/TCP] "
                       "masq=host,outside"));
  // Four ports, four ids, although the leftovers had one.
  EXPECT_NE(maps.FindService(Vip(1))->id, maps.FindService(Vip(2))->id);
}

TEST_F(ReconcileTest, AnUnreadableMapIsAnError) {
  class Unreadable : public FakeMaps {
   public:
    absl::Status ReadFilter(Filter, absl::Span<uint64_t>) const override {
      return absl::PermissionDeniedError("filter");
    }
  };
  Unreadable maps;
  Reconciler reconciler(&maps, {});
  EXPECT_EQ(reconciler.Restore().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(ReconcileTest, CostIsThatOfTheChange) {
  FakeMaps maps;
  Reconciler reconciler(&maps, {});
  ASSERT_TRUE(reconciler.Restore().ok());
  for (int i = 1; i <= 200; ++i) PutService(i, 3);
  ASSERT_TRUE(reconciler.Apply(&cluster_, absl::ZeroDuration()).ok());
  PutEndpoints(77, 4);
  const ApplyResult result =
      reconciler.Apply(&cluster_, absl::ZeroDuration());
  EXPECT_EQ(result.services.size(), 1u);
  EXPECT_EQ(result.operations, 4u);  // bit, backend, slots, service
}

// What has its id, an affinity or an unconnected socket, stays with it.
TEST_F(ReconcileTest, ARenamedPortKeepsItsId) {
  FakeMaps maps;
  Reconciler reconciler(&maps, {});
  ASSERT_TRUE(reconciler.Restore().ok());
  auto id_of = [&](Port port) -> uint32_t {
    EXPECT_TRUE(reconciler.Apply(&cluster_, absl::ZeroDuration()).ok());
    const auto found = reconciler.FindFrontend(
        {Ip("10.96.0.1"), port, Protocol::kTcp});
    return found.has_value() ? found->value.id : 0;
  };
  PutService(1, 2);
  const uint32_t id = id_of(80);
  PutPorts(1, {{"q", Protocol::kTcp, 80, 0}});
  EXPECT_EQ(id_of(80), id);
  const auto view = reconciler.FindServiceId(id);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->port, "q");
  // Another one that comes is another one, and takes nothing away.
  PutPorts(1, {{"p", Protocol::kTcp, 81, 0}, {"q", Protocol::kTcp, 80, 0}});
  EXPECT_EQ(id_of(80), id);
  const uint32_t other = id_of(81);
  EXPECT_NE(other, id);
  // The name goes first: who has it was that port.
  PutPorts(1, {{"p", Protocol::kTcp, 80, 0}, {"q", Protocol::kTcp, 81, 0}});
  EXPECT_EQ(id_of(81), id);
  EXPECT_EQ(id_of(80), other);
  // A new name at the place of one that is still there.
  PutPorts(1, {{"p", Protocol::kTcp, 82, 0}, {"r", Protocol::kTcp, 80, 0}});
  EXPECT_EQ(id_of(82), other);
  EXPECT_NE(id_of(80), other);
  EXPECT_NE(id_of(80), id);
}

TEST_F(ReconcileTest, Views) {
  FakeMaps maps(Capacity(10, 100, 100));
  Reconciler reconciler(&maps, {.grace = absl::Seconds(5)});
  ASSERT_TRUE(reconciler.Restore().ok());
  PutService(1, 2);
  ASSERT_TRUE(reconciler.Apply(&cluster_, absl::Seconds(1)).ok());
  const auto view = reconciler.FindFrontend(Vip(1));
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->service, "ns/svc-1");
  EXPECT_EQ(view->port, "p");
  EXPECT_EQ(view->internal.size(), 2u);
  const auto id = reconciler.FindServiceId(view->value.id);
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(id->service, "ns/svc-1");
  EXPECT_EQ(reconciler.FindServiceId(999), std::nullopt);
  EXPECT_TRUE(reconciler.FindBackend(view->internal[0]).has_value());
  EXPECT_FALSE(reconciler.FindBackend(0).has_value());
  EXPECT_EQ(reconciler.NextDue(), std::nullopt);

  PutEndpoints(1, 1);
  ASSERT_TRUE(reconciler.Apply(&cluster_, absl::Seconds(2)).ok());
  EXPECT_EQ(reconciler.NextDue(), absl::Seconds(7));
  const Reconciler::Stats stats = reconciler.stats();
  EXPECT_EQ(stats.services, 1u);
  EXPECT_EQ(stats.frontends, 1u);
  EXPECT_EQ(stats.backends, 2u);
  EXPECT_EQ(stats.backends_waiting, 1u);
  EXPECT_EQ(stats.slots_used, 3u);
  EXPECT_TRUE(reconciler.Advance(absl::Seconds(7)).ok());
  EXPECT_EQ(reconciler.stats().slots_used, 1u);
  EXPECT_EQ(reconciler.stats().backends, 1u);
}

}  // namespace
}  // namespace fairlead::reconcile
