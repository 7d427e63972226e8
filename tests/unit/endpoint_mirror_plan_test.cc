// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/controllers/endpoint_mirror.h"
#include "tests/unit/fake_cluster.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kLastApplied[] =
    "kubectl.kubernetes.io/last-applied-configuration";

class MirrorTest : public testing::Test {
 protected:
  MirrorTest() {
    PutService("{}");
    PutEndpoints("{}");
  }

  void PutService(const char* overrides) {
    Json service = Json::parse(R"({"metadata": {"namespace": "default",
        "name": "db", "uid": "svc"}, "spec": {"clusterIP": "10.96.0.10",
        "ports": [{"port": 5432}]}})");
    service.merge_patch(Json::parse(overrides));
    cluster_.Put(kube::Services(), service);
  }

  void PutEndpoints(const char* overrides) {
    Json endpoints = Json::parse(R"({"metadata": {"namespace": "default",
        "name": "db", "uid": "ep", "labels": {"tier": "back"}},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}],
        "ports": [{"port": 5432, "protocol": "TCP"}]}]})");
    endpoints.merge_patch(Json::parse(overrides));
    cluster_.Put(kube::Endpoints(), endpoints);
  }

  std::vector<std::string> Sync() {
    size_t before = cluster_.log.size();
    cluster_.Apply(PlanEndpointMirror(
        {.service = cluster_.Get(kube::Services(), "default/db"),
         .endpoints = cluster_.Get(kube::Endpoints(), "default/db"),
         .slices = Slices()}));
    return {cluster_.log.begin() + static_cast<ptrdiff_t>(before),
            cluster_.log.end()};
  }

  std::vector<Object> Slices() { return cluster_.List(kube::EndpointSlices()); }

  // Of each slice "family addresses".
  std::vector<std::string> Shown() {
    std::vector<std::string> shown;
    for (const Object& slice : Slices()) {
      std::string text(Text(*slice, {"addressType"}));
      for (const Json& endpoint : Get(*slice, {"endpoints"})) {
        StrAppend(&text, " ", endpoint["addresses"][0].get<std::string>(),
                  Flag(endpoint, {"conditions", "ready"}) ? "" : "(not ready)");
      }
      shown.push_back(std::move(text));
    }
    std::sort(shown.begin(), shown.end());
    return shown;
  }

  FakeCluster cluster_;
};

TEST_F(MirrorTest, CopiesWhatSomebodyWrote) {
  PutEndpoints(R"({"metadata": {"annotations": {"note": "x",
      "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
      "subsets": [{"addresses": [{"ip": "192.0.2.1", "hostname": "a",
      "nodeName": "n1"}], "ports": [{"name": "sql", "port": 5432,
      "appProtocol": "pg"}]}]})");
  Sync();
  ASSERT_EQ(Slices().size(), 1u);
  Json slice = *Slices()[0];
  EXPECT_EQ(Text(slice, {"metadata", "generateName"}), "db-");
  EXPECT_EQ(slice["metadata"]["labels"], Json::parse(R"({"tier": "back",
      "kubernetes.io/service-name": "db",
      "endpointslice.kubernetes.io/managed-by":
          "endpointslicemirroring-controller.k8s.io"})"));
  EXPECT_EQ(slice["metadata"]["annotations"], Json::parse(R"({"note": "x"})"));
  EXPECT_EQ(Annotation(slice, kLastApplied), "");
  EXPECT_EQ(ControllerUid(slice), "ep");
  EXPECT_EQ(slice["addressType"], "IPv4");
  EXPECT_EQ(slice["endpoints"], Json::parse(R"([{"addresses": ["192.0.2.1"],
      "conditions": {"ready": true}, "hostname": "a", "nodeName": "n1"}])"));
  EXPECT_EQ(slice["ports"], Json::parse(R"([{"name": "sql", "port": 5432,
      "protocol": "TCP", "appProtocol": "pg"}])"));
  EXPECT_THAT(Sync(), IsEmpty());
}

TEST_F(MirrorTest, ASliceForEachFamilyAndSetOfPorts) {
  PutEndpoints(R"({"subsets": [
      {"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
       "notReadyAddresses": [{"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}],
       "ports": [{"port": 5432}]},
      {"addresses": [{"ip": "192.0.2.3"}, {"ip": "no address"}],
       "ports": [{"port": 5432, "name": "", "protocol": "TCP"}]},
      {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5433}]}]})");
  Sync();
  EXPECT_THAT(Shown(),
              ElementsAre("IPv4 192.0.2.1",
                          "IPv4 192.0.2.1 192.0.2.2(not ready) 192.0.2.3",
                          "IPv6 2001:db8::1"));
  EXPECT_THAT(Sync(), IsEmpty());
}

TEST_F(MirrorTest, AChangeIsAChangeOfTheSlice) {
  Sync();
  std::string name(Name(*Slices()[0]));
  PutEndpoints(R"({"metadata": {"labels": {"tier": "front"}},
      "subsets": [{"addresses": [{"ip": "192.0.2.9"}],
                   "ports": [{"port": 5432}]}]})");
  EXPECT_THAT(Sync(), ElementsAre(StrCat("update endpointslices default/",
                                         name)));
  EXPECT_THAT(Shown(), ElementsAre("IPv4 192.0.2.9"));
  EXPECT_EQ(Label(*Slices()[0], "tier"), "front");
}

TEST_F(MirrorTest, AtMostAThousandInASlice) {
  Json subset = Json::parse(R"({"ports": [{"port": 1}]})");
  for (int i = 0; i < 2001; ++i) {
    subset["addresses"].push_back(
        {{"ip", StrCat("10.1.", i / 250, ".", i % 250)}});
  }
  Json overrides;
  overrides["subsets"].push_back(subset);
  PutEndpoints(overrides.dump().c_str());
  Sync();
  std::vector<size_t> sizes;
  for (const Object& slice : Slices()) {
    sizes.push_back(Get(*slice, {"endpoints"}).size());
  }
  EXPECT_THAT(sizes, testing::UnorderedElementsAre(1000, 1000, 1));
}

struct GoneRow {
  const char* what;
  const char* service;    // changes; null: deleted
  const char* endpoints;  // the same
};

class GoneTest : public MirrorTest,
                 public testing::WithParamInterface<GoneRow> {};

TEST_P(GoneTest, LeavesNoSlice) {
  Sync();
  ASSERT_EQ(Slices().size(), 1u);
  // Somebody else's slice of the same Service is left alone.
  Json other = Json::parse(R"({"addressType": "IPv4", "metadata":
      {"namespace": "default", "name": "other", "labels":
       {"kubernetes.io/service-name": "db"}}})");
  cluster_.Put(kube::EndpointSlices(), other);
  if (GetParam().service == nullptr) {
    cluster_.Erase(kube::Services(), "default/db");
  } else {
    PutService(GetParam().service);
  }
  if (GetParam().endpoints == nullptr) {
    cluster_.Erase(kube::Endpoints(), "default/db");
  } else {
    PutEndpoints(GetParam().endpoints);
  }
  Sync();
  ASSERT_EQ(Slices().size(), 1u);
  EXPECT_EQ(Name(*Slices()[0]), "other");
}

INSTANTIATE_TEST_SUITE_P(
    Rows, GoneTest,
    testing::Values(
        GoneRow{"ServiceDeleted", nullptr, "{}"},
        GoneRow{"EndpointsDeleted", "{}", nullptr},
        GoneRow{"Selector", R"({"spec": {"selector": {"app": "db"}}})", "{}"},
        GoneRow{"NoAddress", "{}", R"({"subsets": null})"},
        GoneRow{"Skipped", "{}", R"({"metadata": {"labels":
            {"endpointslice.kubernetes.io/skip-mirror": "true"}}})"},
        GoneRow{"CopyOfSlices", "{}", R"({"metadata": {"labels":
            {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}}})"},
        GoneRow{"Leader", "{}", R"({"metadata": {"annotations":
            {"control-plane.alpha.kubernetes.io/leader": "{}"}}})"}),
    [](const auto& row) { return std::string(row.param.what); });

}  // namespace
}  // namespace fairlead::controllers
