// SPDX-License-Identifier: Apache-2.0
#include "control/api/health.h"

#include "tests/unit/api_fixture.h"

namespace fairlead::api {
namespace {

class HealthTest : public testing::Test {
 protected:
  HealthTest() {
    health_.Add("loop", Health::Of::kAll, [] { return absl::OkStatus(); });
    health_.Add("store", Health::Of::kReady, [this] { return store_; });
  }
  // "STATUS text"
  std::string Get(std::string path, std::string method = "GET") {
    size_t mark = std::min(path.find('?'), path.size());
    auto response = health_.Serve(
        method, path.substr(0, mark),
        Query::Parse(std::string_view(path).substr(
            std::min(mark + 1, path.size()))));
    if (!response.has_value()) return "none";
    return std::to_string(response->status) + " " + response->body;
  }
  Health health_;
  absl::Status store_;
};

// Words and line ends: k8s.io/apiserver, server/healthz/healthz.go.
TEST_F(HealthTest, ReadsAsKubernetesWritesIt) {
  struct Row {
    const char* path;
    const char* well;
    const char* full;  // with the store full
  } rows[] = {
      {"/readyz", "200 ok",
       "500 [+]ping ok\n[+]loop ok\n[-]store failed: reason withheld\n"
       "readyz check failed\n"},
      {"/healthz", "200 ok",
       "500 [+]ping ok\n[+]loop ok\n[-]store failed: reason withheld\n"
       "healthz check failed\n"},
      {"/livez", "200 ok", "200 ok"},
      {"/readyz?verbose",
       "200 [+]ping ok\n[+]loop ok\n[+]store ok\nreadyz check passed\n",
       "500 [+]ping ok\n[+]loop ok\n[-]store failed: reason withheld\n"
       "readyz check failed\n"},
      {"/livez?verbose", "200 [+]ping ok\n[+]loop ok\nlivez check passed\n",
       "200 [+]ping ok\n[+]loop ok\nlivez check passed\n"},
      {"/readyz?exclude=store", "200 ok", "200 ok"},
      {"/readyz?verbose&exclude=store&exclude=loop",
       "200 [+]ping ok\n[+]loop excluded: ok\n[+]store excluded: ok\n"
       "readyz check passed\n",
       "200 [+]ping ok\n[+]loop excluded: ok\n[+]store excluded: ok\n"
       "readyz check passed\n"},
      {"/livez?exclude=store&exclude=etcd&verbose=1",
       "200 [+]ping ok\n[+]loop ok\nwarn: some health checks cannot be "
       "excluded: no matches for \"etcd\",\"store\"\nlivez check passed\n",
       "200 [+]ping ok\n[+]loop ok\nwarn: some health checks cannot be "
       "excluded: no matches for \"etcd\",\"store\"\nlivez check passed\n"},
      {"/readyz/store", "200 ok", "500 internal server error: disk is full\n"},
      {"/readyz/ping", "200 ok", "200 ok"},
      {"/livez/store", "404 404 page not found\n",
       "404 404 page not found\n"},
      {"/readyz/", "404 404 page not found\n", "404 404 page not found\n"},
      {"/readyz/stor", "404 404 page not found\n",
       "404 404 page not found\n"},
      {"/readyzz", "none", "none"},
      {"/ready", "none", "none"},
      {"readyz", "none", "none"},
  };
  for (const Row& row : rows) {
    store_ = absl::OkStatus();
    EXPECT_EQ(Get(row.path), row.well) << row.path;
    store_ = absl::ResourceExhaustedError("disk is full");
    EXPECT_EQ(Get(row.path), row.full) << row.path;
  }
  EXPECT_EQ(Get("/readyz", "POST").substr(0, 4), "405 ");
}

class HealthServerTest : public ApiServerTest {};

TEST_F(HealthServerTest, TellsWhatIsBeingMadeAndWhatFailed) {
  EXPECT_EQ(Do("GET", "/livez/poststarthook/rbac/bootstrap-roles").body, "ok");
  Answer root = Do("GET", "/");
  const Json paths = root.json()["paths"];
  for (const char* path :
       {"/livez/ping", "/readyz/poststarthook/rbac/bootstrap-roles",
        "/healthz/poststarthook/start-system-namespaces-controller"}) {
    EXPECT_NE(std::find(paths.begin(), paths.end(), path), paths.end()) << path;
    EXPECT_EQ(Do("GET", path).status, 200) << path;
  }
  server_->AddHealthCheck("informer-sync", [] {
    return absl::UnavailableError("informers have not synced");
  });
  EXPECT_EQ(Do("GET", "/readyz/informer-sync").body,
            "internal server error: informers have not synced\n");
  EXPECT_EQ(Do("GET", "/livez").body, "ok");
}

}  // namespace
}  // namespace fairlead::api
