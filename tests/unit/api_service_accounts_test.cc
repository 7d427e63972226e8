// SPDX-License-Identifier: Apache-2.0
// What a new pod gets from its ServiceAccount, through the server.
#include <gmock/gmock.h>

#include "control/api/kinds.h"
#include "control/api/priority.h"
#include "control/api/service_account_admission.h"
#include "tests/unit/api_fixture.h"

namespace fairlead::api {
namespace {

using testing::MatchesRegex;

constexpr char kPods[] = "/api/v1/namespaces/default/pods";
constexpr char kAccounts[] = "/api/v1/namespaces/default/serviceaccounts";
constexpr char kMountPath[] = "/var/run/secrets/kubernetes.io/serviceaccount";

class ServiceAccountsTest : public ApiServerTest {
 protected:
  ServiceAccountsTest() { Restart(); }

  // As a new process over the same store.
  void Restart() {
    kinds_ = MakeKindTable();
    accounts_ = MakeServiceAccountAdmission();
    priorities_ = MakePriorityAdmission();
    admissions_ = {priorities_.get(), accounts_.get()};
    Start();
  }

  Answer Send(const std::string& path, const Json& object) {
    return Do("POST", path, object.dump(),
              {{"Content-Type", "application/json"}});
  }
  Json Made(const Json& object) {
    Answer answer = Send(kPods, object);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return answer.json();
  }
  void Account(const Json& object) {
    Answer answer = Send(kAccounts, object);
    EXPECT_EQ(answer.status, 201) << answer.body;
  }
  static Json Pod(const std::string& name, Json more = Json::object()) {
    Json pod = {{"metadata", {{"name", name}}},
                {"spec",
                 {{"containers",
                   {{{"name", "a"}, {"image", "i"}},
                    {{"name", "b"}, {"image", "i"}}}},
                  {"initContainers", {{{"name", "c"}, {"image", "i"}}}}}}};
    pod["spec"].update(more);
    return pod;
  }

  std::unique_ptr<Admission> accounts_, priorities_;
};

TEST_F(ServiceAccountsTest, EveryContainerHasTheToken) {
  const Json spec = Made(Pod("p"))["spec"];
  EXPECT_EQ(spec["serviceAccountName"], "default");
  EXPECT_EQ(spec["serviceAccount"], "default");
  ASSERT_EQ(spec["volumes"].size(), 1u) << spec;
  Json volume = spec["volumes"][0];
  const std::string name = volume["name"];
  EXPECT_THAT(name, MatchesRegex("kube-api-access-[b-z2-9]{5}"));
  volume.erase("name");
  EXPECT_EQ(volume, Json::parse(R"({"projected": {"defaultMode": 420,
      "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt",
                       "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
          "fieldRef": {"apiVersion": "v1",
                       "fieldPath": "metadata.namespace"}}]}}]}})"));
  const Json mounts = Json::array(
      {{{"name", name}, {"readOnly", true}, {"mountPath", kMountPath}}});
  EXPECT_EQ(spec["containers"][0]["volumeMounts"], mounts);
  EXPECT_EQ(spec["containers"][1]["volumeMounts"], mounts);
  EXPECT_EQ(spec["initContainers"][0]["volumeMounts"], mounts);
}

TEST_F(ServiceAccountsTest, AnAccountThatIsMissingIsARefusal) {
  Answer answer = Send(kPods, Pod("p", {{"serviceAccountName", "robot"}}));
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.json(), Json::parse(R"({"kind":"Status","apiVersion":"v1",
      "metadata":{},"status":"Failure","message":"pods \"p\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found",
      "reason":"Forbidden","details":{"name":"p","kind":"pods"},"code":403})"));
  Account({{"metadata", {{"name", "robot"}}}});
  EXPECT_EQ(Made(Pod("p", {{"serviceAccountName", "robot"}}))["spec"]
                ["serviceAccountName"],
            "robot");
  EXPECT_EQ(Do("DELETE", std::string(kAccounts) + "/robot").status, 200);
  EXPECT_EQ(Send(kPods, Pod("q", {{"serviceAccountName", "robot"}})).status,
            403);
}

TEST_F(ServiceAccountsTest, ThePodThenTheAccountSayWhetherItWantsAToken) {
  Account({{"metadata", {{"name", "shy"}}},
           {"automountServiceAccountToken", false}});
  Restart();  // read again from the store
  auto volumes = [&](const std::string& name, const Json& more) {
    return Made(Pod(name, more))["spec"]["volumes"].size();
  };
  EXPECT_EQ(volumes("a", {{"serviceAccountName", "shy"}}), 0u);
  EXPECT_EQ(volumes("b", {{"serviceAccountName", "shy"},
                          {"automountServiceAccountToken", true}}),
            1u);
  EXPECT_EQ(volumes("c", {{"automountServiceAccountToken", false}}), 0u);
}

TEST_F(ServiceAccountsTest, WhatThePodMountsThereItselfStays) {
  const Json own = {{"name", "own"}, {"mountPath", kMountPath}};
  Json pod = Pod("p", {{"volumes", {{{"name", "own"},
                                     {"emptyDir", Json::object()}}}}});
  for (const char* list : {"containers", "initContainers"}) {
    for (Json& container : pod["spec"][list]) {
      container["volumeMounts"] = Json::array({own});
    }
  }
  const Json spec = Made(pod)["spec"];
  EXPECT_EQ(spec["volumes"].size(), 1u) << spec;
  EXPECT_EQ(spec["containers"][0]["volumeMounts"], Json::array({own}));
}

TEST_F(ServiceAccountsTest, PullSecretsComeFromTheAccount) {
  Account({{"metadata", {{"name", "robot"}}},
           {"imagePullSecrets", {{{"name", "registry"}}}}});
  EXPECT_EQ(Made(Pod("a", {{"serviceAccountName", "robot"}}))["spec"]
                ["imagePullSecrets"],
            Json::parse(R"([{"name": "registry"}])"));
  EXPECT_EQ(Made(Pod("b", {{"serviceAccountName", "robot"},
                           {"imagePullSecrets", {{{"name", "mine"}}}}}))
                ["spec"]["imagePullSecrets"],
            Json::parse(R"([{"name": "mine"}])"));
}

TEST_F(ServiceAccountsTest, APriorityClassThatIsMissingIsARefusal) {
  Answer answer = Send(kPods, Pod("p", {{"priorityClassName", "gold"}}));
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.json()["message"],
            "pods \"p\" is forbidden: no PriorityClass with name gold was "
            "found");
}

}  // namespace
}  // namespace fairlead::api
