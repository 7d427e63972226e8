// SPDX-License-Identifier: Apache-2.0
// Decoding: objects, list pages and watch streams recorded from a Kubernetes
// 1.36 API server, and kubeconfig files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "userspace/base/strings.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/service_cidr.h"
#include "userspace/kube/resource.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string TestFile(const std::string& name) {
  std::ifstream file(std::string(FAIRLEAD_SOURCE_DIR) +
                     "/tests/unit/testdata/kube/" + name);
  EXPECT_TRUE(file) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Resource, Paths) {
  EXPECT_EQ(Services().Path("", ""), "/api/v1/services");
  EXPECT_EQ(Services().Path("a b", "c/d"),
            "/api/v1/namespaces/a%20b/services/c%2Fd");
  EXPECT_EQ(Deployments().Path("x", "y", "scale"),
            "/apis/apps/v1/namespaces/x/deployments/y/scale");
  EXPECT_EQ(Nodes().Path("", "n"), "/api/v1/nodes/n");
}

TEST(DecodeService, Recorded) {
  auto service = DecodeService(TestFile("service_get.json"));
  ASSERT_TRUE(service.ok()) << service.status();
  EXPECT_FALSE(service->meta.name.empty());
  EXPECT_FALSE(service->meta.resource_version.empty());
  EXPECT_FALSE(service->cluster_ips.empty());
  EXPECT_FALSE(service->ports.empty());
}

TEST(DecodeService, EveryFieldThatAProxyReads) {
  auto s = DecodeService(R"({"metadata":{"namespace":"d","name":"w",
    "uid":"u","resourceVersion":"7",
    "labels":{"service.kubernetes.io/service-proxy-name":"other"}},
    "spec":{"type":"LoadBalancer","clusterIPs":["10.0.0.1","fd00::1"],
    "ports":[{"name":"a","port":80,"nodePort":30080},
             {"name":"b","protocol":"UDP","port":53,"targetPort":"dns"}],
    "externalIPs":["192.0.2.1"],
    "loadBalancerSourceRanges":[" 198.51.100.7/24 "],
    "sessionAffinity":"ClientIP",
    "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
    "internalTrafficPolicy":"Local","externalTrafficPolicy":"Local",
    "healthCheckNodePort":31000},
    "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1"},
      {"ip":"203.0.113.2","ipMode":"Proxy"},{"hostname":"x"},
      {"ip":"203.0.113.3","ipMode":"VIP"}]}}})");
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->type, ServiceType::kLoadBalancer);
  EXPECT_TRUE(s->other_proxy);
  ASSERT_EQ(s->cluster_ips.size(), 2u);
  EXPECT_EQ(s->cluster_ips[1].ToString(), "fd00::1");
  EXPECT_THAT(s->ports,
              ElementsAre(ServicePort{"a", Protocol::kTcp, 80, 30080},
                          ServicePort{"b", Protocol::kUdp, 53, 0}));
  ASSERT_EQ(s->load_balancer_vips.size(), 2u);
  EXPECT_EQ(s->load_balancer_vips[1].ToString(), "203.0.113.3");
  ASSERT_EQ(s->source_ranges.size(), 1u);
  EXPECT_EQ(s->source_ranges[0].ToString(), "198.51.100.0/24");
  EXPECT_EQ(s->affinity, absl::Seconds(60));
  EXPECT_TRUE(s->internal_local && s->external_local);
  EXPECT_EQ(s->health_check_node_port, 31000);
}

TEST(DecodeNode, SignsOfItsEnd) {
  auto node = DecodeNode(R"({"metadata":{"name":"n",
    "deletionTimestamp":"2026-01-01T00:00:00Z"},
    "spec":{"taints":[{"key":"a","effect":"NoSchedule"},{"key":"b"}]}})");
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_TRUE(node->being_deleted);
  EXPECT_THAT(node->taints, ElementsAre("a", "b"));
  node = DecodeNode(R"({"metadata":{"name":"n"},"spec":{"taints":null}})");
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_FALSE(node->being_deleted);
  EXPECT_TRUE(node->taints.empty());
}

// One that is being deleted says the same.
TEST(DecodeServiceCidr, Ranges) {
  auto ranges = DecodeServiceCidr(R"({"metadata":{"name":"kubernetes",
    "deletionTimestamp":"2026-01-01T00:00:00Z",
    "finalizers":["networking.k8s.io/service-cidr-finalizer"]},
    "spec":{"cidrs":["10.96.0.0/12","fd00:10:96::/108"]},
    "status":{"conditions":[{"type":"Ready","status":"False"}]}})");
  ASSERT_TRUE(ranges.ok()) << ranges.status();
  EXPECT_EQ(ranges->meta.name, "kubernetes");
  EXPECT_THAT(ranges->cidrs,
              ElementsAre(*IpPrefix::Parse("10.96.0.0/12"),
                          *IpPrefix::Parse("fd00:10:96::/108")));
  ranges = DecodeServiceCidr(R"({"metadata":{"name":"n"},"spec":{}})");
  ASSERT_TRUE(ranges.ok()) << ranges.status();
  EXPECT_TRUE(ranges->cidrs.empty());
  EXPECT_FALSE(DecodeServiceCidr(R"({"metadata":{"name":"n"},
    "spec":{"cidrs":["10.96.0.0/33"]}})").ok());
}

TEST(DecodeService, HeadlessAndNulls) {
  auto s = DecodeService(R"({"metadata":{"name":"w","labels":null},
    "spec":{"clusterIP":"None","ports":null,"externalIPs":null}})");
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_TRUE(s->headless);
  EXPECT_TRUE(s->ports.empty());
}

TEST(DecodeService, ErrorsNameTheField) {
  struct Case {
    const char* json;
    const char* error;
  };
  for (const Case& c : std::vector<Case>{
           {R"({"metadata":{}})", "metadata.name"},
           {R"({"metadata":{"name":"w"},"spec":{"ports":[{"port":70000}]}})",
            "spec.ports[0].port"},
           {R"({"metadata":{"name":"w"},"spec":{"clusterIPs":["10.0.0"]}})",
            "spec.clusterIPs"},
           {R"({"metadata":{"name":"w"},"spec":{"type":7}})", "spec.type"},
           {R"({"metadata":{"name":"w"},
                "spec":{"ports":[{"port":1,"protocol":"X"}]}})",
            "spec.ports[0].protocol"},
           {"[]", "not an object"},
           {"{", ""}}) {
    auto s = DecodeService(c.json);
    ASSERT_FALSE(s.ok()) << c.json;
    EXPECT_EQ(s.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(s.status().message()), HasSubstr(c.error));
  }
}

TEST(DecodeEndpointSlice, ConditionsHintsAndPorts) {
  auto s = DecodeEndpointSlice(R"({"metadata":{"name":"w-1","namespace":"d",
    "labels":{"kubernetes.io/service-name":"w"},"annotations":{
    "endpoints.kubernetes.io/last-change-trigger-time":
      "2026-01-02T03:04:05.5Z"}},
    "addressType":"IPv4",
    "ports":[{"name":"a","port":8080},{"port":1},{"name":null,"port":2},
             {"name":"","port":3,"protocol":"UDP"},{"name":"c"}],
    "endpoints":[
     {"addresses":["10.1.0.1","10.1.0.9"],"nodeName":"n1",
      "hints":{"forZones":[{"name":"z1"}],"forNodes":[{"name":"n1"}]}},
     {"addresses":["10.1.0.2"],
      "conditions":{"ready":false,"serving":true,"terminating":true}}]})");
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->service_name, "w");
  EXPECT_THAT(s->ports, ElementsAre(EndpointPort{"a", Protocol::kTcp, 8080},
                                    EndpointPort{"", Protocol::kUdp, 3}));
  ASSERT_EQ(s->endpoints.size(), 2u);
  EXPECT_EQ(s->endpoints[0].address.ToString(), "10.1.0.1");
  EXPECT_TRUE(s->endpoints[0].ready && s->endpoints[0].serving);
  EXPECT_THAT(s->endpoints[0].zone_hints, ElementsAre("z1"));
  EXPECT_THAT(s->endpoints[0].node_hints, ElementsAre("n1"));
  EXPECT_FALSE(s->endpoints[1].ready);
  EXPECT_TRUE(s->endpoints[1].terminating);
  EXPECT_EQ(absl::ToUnixMillis(*s->last_change) % 1000, 500);
}

TEST(DecodeEndpointSlice, FqdnHasNoEndpoints) {
  auto s = DecodeEndpointSlice(R"({"metadata":{"name":"w"},
    "addressType":"FQDN","endpoints":[{"addresses":["a.example"]}]})");
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_FALSE(s->family.has_value());
  EXPECT_TRUE(s->endpoints.empty());
}

TEST(DecodeListPage, RecordedPages) {
  size_t items = 0, endpoints = 0;
  for (int i = 1; i <= 3; ++i) {
    std::string n = std::to_string(i);
    std::string body = TestFile("services_page" + n + ".json");
    auto page = DecodeListPage(&body, [&](std::string_view text) {
      ++items;
      auto service = DecodeService(text);
      EXPECT_TRUE(service.ok()) << service.status();
    });
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_EQ(page->resource_version, "2889");
    EXPECT_EQ(page->continue_token.empty(), i == 3);
    body = TestFile("endpointslices_page" + n + ".json");
    page = DecodeListPage(&body, [&](std::string_view text) {
      auto slice = DecodeEndpointSlice(text);
      EXPECT_TRUE(slice.ok()) << slice.status();
      endpoints += slice->endpoints.size();
    });
    ASSERT_TRUE(page.ok()) << page.status();
  }
  EXPECT_EQ(items, 21u);
  EXPECT_EQ(endpoints, 36u);
  std::string nodes = TestFile("nodes_list.json");
  auto page = DecodeListPage(&nodes, [&](std::string_view text) {
    auto node = DecodeNode(text);
    ASSERT_TRUE(node.ok()) << node.status();
  });
  ASSERT_TRUE(page.ok()) << page.status();
}

// Cut anywhere, a page is an error and never a shorter list.
TEST(DecodeListPage, CutOff) {
  const std::string whole = TestFile("services_page3.json");
  size_t end = whole.rfind('}');
  for (size_t length = 0; length <= end; length += 97) {
    std::string body = whole.substr(0, length);
    EXPECT_FALSE(DecodeListPage(&body, [](std::string_view) {}).ok())
        << length;
  }
}

std::vector<std::string> SplitAt(const std::string& stream, size_t piece) {
  JsonSplitter splitter;
  std::vector<std::string> texts;
  for (size_t i = 0; i < stream.size(); i += piece) {
    absl::Status status = splitter.Feed(
        std::string_view(stream).substr(i, piece), [&](std::string_view t) {
          texts.emplace_back(t);
          return true;
        });
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_FALSE(splitter.partial());
  return texts;
}

TEST(JsonSplitter, WhereTheBytesAreCutDoesNotMatter) {
  const std::string stream = TestFile("services_watch.jsonl");
  const std::vector<std::string> whole = SplitAt(stream, stream.size());
  ASSERT_EQ(whole.size(), 21u);
  for (size_t piece : {1, 2, 3, 7, 100, 1009, 4096}) {
    EXPECT_EQ(SplitAt(stream, piece), whole) << piece;
  }
  for (const std::string& text : whole) {
    std::string padded = text;
    padded.reserve(text.size() + 64);
    auto frame = DecodeWatchFrame(padded);
    ASSERT_TRUE(frame.ok()) << frame.status();
    EXPECT_NE(HeadOf(*frame)->resource_version, "");
  }
}

TEST(JsonSplitter, StringsMayHoldBraces) {
  EXPECT_THAT(SplitAt("{\"a\":\"}\\\"{\"} {\"b\":[{}]}\n", 1),
              ElementsAre("{\"a\":\"}\\\"{\"}", "{\"b\":[{}]}"));
}

TEST(JsonSplitter, RefusesWhatIsNotObjects) {
  JsonSplitter splitter;
  auto ignore = [](std::string_view) { return true; };
  EXPECT_FALSE(splitter.Feed("<html>", ignore).ok());
  JsonSplitter small(10);
  EXPECT_EQ(small.Feed("{\"a\":\"bbbbbbbb", ignore).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(Kubeconfig, RoundTrip) {
  auto server = ParseKubeconfig(MakeKubeconfig("box", {.url = "http://127.0.0.1:1"}));
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(server->url, "http://127.0.0.1:1");
}

// One garbled byte inside of an object that is otherwise whole: its head can't be
// read any more, which is an error, and no more than that.
TEST(HeadOf, OfAGarbledObjectIsAnError) {
  const std::string whole =
      R"({"type":"MODIFIED","object":{"addressType":"IPv4","endpoints":[)"
      R"({"addresses":["10.244.0.4"],"conditions":{"ready":true}},)"
      R"({"addresses":["10.244.0.7"],"hints":{"forZones":[{"name":"z"}]},)"
      R"("nodeName":"n"}],"kind":"EndpointSlice","metadata":{"name":"s",)"
      R"("namespace":"ns","resourceVersion":"7"},"ports":[{"port":1}]}})";
  size_t read = 0, errors = 0;
  for (size_t at = 30; at + 2 < whole.size(); ++at) {
    for (char c : {'k', '{', '[', ']', '}', '"', ','}) {
      std::string text = whole;
      text[at] = c;
      text.reserve(text.size() + 64);
      auto frame = DecodeWatchFrame(text);
      if (!frame.ok()) continue;
      auto head = HeadOf(*frame);
      ++(head.ok() ? read : errors);
    }
  }
  EXPECT_GT(read, 100u);
  EXPECT_GT(errors, 20u);
}

TEST(Kubeconfig, NamesTheFilesOfACredential) {
  const std::string text = MakeKubeconfig(
      "box", {.url = "https://127.0.0.1:1",
              .client_certificate_pem = "in memory",
              .client_certificate_file = "agent-client.crt",
              .client_key_file = "agent-client.key"});
  EXPECT_THAT(text, HasSubstr("    client-certificate: agent-client.crt\n"
                              "    client-key: agent-client.key\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("-data")));
}

constexpr char kConfig[] = R"(
apiVersion: v1
kind: Config
current-context: b
contexts:
- {name: a, context: {cluster: x, user: x}}
- {name: b, context: {cluster: c, user: u}}
clusters:
- name: c
  cluster:
    server: https://[fd00::1]:6443
    certificate-authority-data: Q0E=
users:
- name: u
  user:
    token: secret
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
)";

TEST(Kubeconfig, TokenAndCertificates) {
  auto server = ParseKubeconfig(kConfig);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(server->url, "https://[fd00::1]:6443");
  EXPECT_EQ(server->ca_pem, "CA");
  EXPECT_EQ(server->bearer_token, "secret");
  EXPECT_EQ(server->client_certificate_pem, "CERT");
  EXPECT_EQ(server->client_key_pem, "KEY");
}

TEST(Kubeconfig, ErrorsSayWhatIsMissing) {
  auto error = [](std::string_view yaml) {
    return std::string(ParseKubeconfig(yaml).status().message());
  };
  EXPECT_THAT(error("a: ["), HasSubstr("not valid YAML"));
  EXPECT_THAT(error("a: 1"), HasSubstr("current-context"));
  EXPECT_THAT(error("current-context: z\ncontexts: []"), HasSubstr("\"z\""));
  std::string no_key = kConfig;
  no_key.erase(no_key.find("    client-key-data"));
  EXPECT_THAT(error(no_key), HasSubstr("client-key"));
  auto with = [&](const std::string& cluster, const std::string& user) {
    return error(StrCat("current-context: c\ncontexts: [{name: c, context: "
                        "{cluster: c, user: u}}]\nclusters: [{name: c, "
                        "cluster: {server: \"https://h\"", cluster,
                        "}}]\nusers: [{name: u, user: {", user, "}}]\n"));
  };
  EXPECT_EQ(with("", ""), "");
  EXPECT_THAT(with(", proxy-url: \"http://p\"", ""), HasSubstr("proxy-url"));
  EXPECT_THAT(with(", insecure-skip-tls-verify: true, "
                   "certificate-authority-data: Q0E=", ""),
              HasSubstr("insecure-skip-tls-verify"));
  EXPECT_THAT(with("", "exec: {command: x}"), HasSubstr("\"exec\""));
  EXPECT_THAT(with("", "as: admin"), HasSubstr("\"as\""));
  auto missing = LoadKubeconfig("/does/not/exist");
  EXPECT_THAT(std::string(missing.status().message()),
              HasSubstr("/does/not/exist"));
}

TEST(Kubeconfig, FilesAreRelativeToTheConfig) {
  std::string folder = ::testing::TempDir() + "kubeconfig_files";
  ASSERT_EQ(system(("mkdir -p " + folder).c_str()), 0);
  std::ofstream(folder + "/ca.crt") << "PEM";
  std::ofstream(folder + "/config") << R"(
current-context: b
contexts: [{name: b, context: {cluster: c, user: u}}]
clusters:
- {name: c, cluster: {server: "https://h", certificate-authority: ca.crt,
                      tls-server-name: kubernetes}}
users: [{name: u, user: {tokenFile: token}}]
)";
  std::ofstream(folder + "/token") << "t0\n";
  auto server = LoadKubeconfig(folder + "/config");
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(server->ca_pem, "PEM");
  EXPECT_EQ(server->tls_server_name, "kubernetes");
  EXPECT_EQ(server->bearer_token, "t0");
  EXPECT_EQ(server->bearer_token_file, folder + "/token");
}

}  // namespace
}  // namespace fairlead::kube
