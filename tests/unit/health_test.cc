// SPDX-License-Identifier: Apache-2.0
// Section 11 of the service semantics: /healthz, /livez and the health-check
// NodePorts (vector table A.4), the latter over real sockets on loopback.
#include "userspace/agent/health.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "userspace/agent/health_check_ports.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Json = nlohmann::json;
using HealthCheck = model::Cluster::HealthCheck;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

// ---- what is answered ----

HealthFacts Good() {
  HealthFacts facts;
  facts.synced = true;
  facts.now = absl::FromUnixSeconds(1700000100);
  facts.last_updated = absl::FromUnixSeconds(1700000000);
  return facts;
}

struct Row {
  const char* name;
  bool synced;
  int waiting_seconds;
  bool eligible;
  int healthz;
  int livez;
};

TEST(Healthz, StatusByState) {
  for (const Row& row : {
           Row{"all well", true, 0, true, 200, 200},
           Row{"a change waits, not too long", true, 60, true, 200, 200},
           Row{"a change waits too long", true, 61, true, 503, 503},
           Row{"the node is going", true, 0, false, 503, 200},
           Row{"both", true, 61, false, 503, 503},
           Row{"not listed yet", false, 0, true, 503, 200},
           Row{"not listed for long", false, 600, true, 503, 200},
       }) {
    HealthFacts facts = Good();
    facts.synced = row.synced;
    facts.waiting = absl::Seconds(row.waiting_seconds);
    facts.node_eligible = row.eligible;
    EXPECT_EQ(HealthzReply(facts).status, row.healthz) << row.name;
    EXPECT_EQ(LivezReply(facts).status, row.livez) << row.name;
  }
}

TEST(Healthz, Body) {
  HealthFacts facts = Good();
  facts.node_eligible = false;
  Json body = Json::parse(HealthzReply(facts).body);
  EXPECT_EQ(body["lastUpdated"], "2023-11-14T22:13:20+00:00");
  EXPECT_EQ(body["currentTime"], "2023-11-14T22:15:00+00:00");
  EXPECT_EQ(body["nodeEligible"], false);
  EXPECT_EQ(body["healthy"], true);
  for (const char* family : {"IPv4", "IPv6"}) {
    EXPECT_EQ(body["status"][family]["healthy"], true) << family;
    EXPECT_EQ(body["status"][family]["lastUpdated"], body["lastUpdated"]);
  }
  EXPECT_EQ(body["status"].size(), 2u);
  facts.waiting = absl::Seconds(90);
  body = Json::parse(LivezReply(facts).body);
  EXPECT_EQ(body["healthy"], false);
  EXPECT_EQ(body["status"]["IPv6"]["healthy"], false);
}

TEST(Healthz, ANodeThatIsGoingIsNotEligible) {
  kube::Node node;
  node.taints = {"node.kubernetes.io/unschedulable"};
  EXPECT_TRUE(IsEligible(node));
  node.taints.push_back("ToBeDeletedByClusterAutoscaler");
  EXPECT_FALSE(IsEligible(node));
  node.taints.clear();
  node.being_deleted = true;
  EXPECT_FALSE(IsEligible(node));
}

TEST(Healthz, AnswersAreCountedByStatus) {
  AnswerCounter counter;
  counter.Count(HttpReply{.status = 200});
  counter.Count(HttpReply{.status = 503});
  counter.Count(HttpReply{.status = 503});
  PrometheusText text;
  counter.AddTo(&text, "kubeproxy_proxy_healthz_total", "x");
  std::string out = text.Take();
  EXPECT_THAT(out,
              HasSubstr("kubeproxy_proxy_healthz_total{code=\"200\"} 1\n"));
  EXPECT_THAT(out,
              HasSubstr("kubeproxy_proxy_healthz_total{code=\"503\"} 2\n"));
}

// Table A.4.
TEST(ServiceHealth, Vectors) {
  struct Vector {
    int endpoints;
    bool healthy;
    int status;
  };
  for (const Vector& v : {Vector{2, true, 200}, Vector{0, true, 503},
                          Vector{2, false, 503}, Vector{0, false, 503}}) {
    HttpReply reply = ServiceHealthReply("ns/svc", v.endpoints, v.healthy);
    EXPECT_EQ(reply.status, v.status) << v.endpoints << v.healthy;
    Json want = {{"service", {{"namespace", "ns"}, {"name", "svc"}}},
                 {"localEndpoints", v.endpoints},
                 {"serviceProxyHealthy", v.healthy}};
    EXPECT_EQ(Json::parse(reply.body), want);
    EXPECT_EQ(reply.content_type, "application/json");
    EXPECT_THAT(reply.headers,
                Contains(Pair("X-Load-Balancing-Endpoint-Weight",
                              StrCat(v.endpoints))));
    // Lines, as people and scripts know it.
    EXPECT_THAT(reply.body, HasSubstr("\t\"localEndpoints\": "));
  }
}

// ---- the listeners ----

UniqueFd Dial(const std::string& ip, Port port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
              sizeof address) < 0) {
    fd.reset();
  }
  return fd;
}

std::string ReadAll(const UniqueFd& fd) {
  std::string answer;
  char buffer[4096];
  ssize_t n = 0;
  while ((n = read(fd.get(), buffer, sizeof buffer)) > 0) {
    answer.append(buffer, n);
  }
  return answer;
}

constexpr char kRequest[] = "GET /any/path HTTP/1.1\r\n\r\n";

// A port that nobody has.
Port FreePort() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  socklen_t size = sizeof address;
  bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

class HealthCheckPortsTest : public ::testing::Test {
 protected:
  HealthCheckPortsTest()
      : ports_(&loop_, [this] { return healthy_; },
               [this](const std::string& service, Port, const absl::Status&) {
                 failed_.push_back(service);
               },
               absl::Milliseconds(20)) {
    ports_.SetAddresses({Ip("127.0.0.1"), Ip("127.0.0.2")});
  }

  // Runs the loop while `fn` blocks elsewhere.
  void While(const std::function<void()>& fn) {
    std::thread other([&] {
      fn();
      loop_.Stop();
    });
    loop_.Run();
    other.join();
  }

  // "": refused.
  std::string Ask(Port port, const std::string& ip = "127.0.0.1") {
    std::string answer;
    While([&] {
      UniqueFd fd = Dial(ip, port);
      if (!fd.valid()) return;
      (void)send(fd.get(), kRequest, sizeof kRequest - 1, MSG_NOSIGNAL);
      answer = ReadAll(fd);
    });
    return answer;
  }

  static HealthCheck Check(Port port, int endpoints) {
    HealthCheck check;
    check.port = port;
    check.local_ready4 = endpoints;
    return check;
  }

  EventLoop loop_;
  bool healthy_ = true;
  std::vector<std::string> failed_;
  HealthCheckPorts ports_;
};

TEST_F(HealthCheckPortsTest, FollowsTheService) {
  Port port = FreePort();
  ports_.Update("ns/svc", Check(port, 0));
  EXPECT_THAT(Ask(port), HasSubstr("HTTP/1.1 503 "));
  ports_.Update("ns/svc", Check(port, 2));
  std::string answer = Ask(port, "127.0.0.2");
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nX-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(answer,
              HasSubstr("\r\nX-Load-Balancing-Endpoint-Weight: 2\r\n"));
  healthy_ = false;
  EXPECT_THAT(Ask(port), HasSubstr("HTTP/1.1 503 "));
  healthy_ = true;
  // Another port, then fewer addresses, then none.
  Port moved = FreePort();
  ports_.Update("ns/svc", Check(moved, 2));
  EXPECT_EQ(Ask(port), "");
  EXPECT_THAT(Ask(moved), HasSubstr("200 OK"));
  ports_.SetAddresses({Ip("127.0.0.2")});
  EXPECT_EQ(Ask(moved), "");
  EXPECT_THAT(Ask(moved, "127.0.0.2"), HasSubstr("200 OK"));
  ports_.Update("ns/svc", std::nullopt);
  EXPECT_EQ(Ask(moved, "127.0.0.2"), "");
  EXPECT_EQ(ports_.stats().listeners, 0u);
  EXPECT_THAT(failed_, ElementsAre());
}

TEST_F(HealthCheckPortsTest, ARequestToACheckThatHasJustGoneGetsAnEmpty200) {
  Port port = FreePort();
  ports_.Update("ns/svc", Check(port, 0));
  UniqueFd fd = Dial("127.0.0.1", port);
  ASSERT_TRUE(fd.valid());
  // Until the server has it.
  EXPECT_THAT(Ask(port), HasSubstr("503"));
  ports_.Update("ns/svc", std::nullopt);
  std::string answer;
  While([&] {
    (void)send(fd.get(), kRequest, sizeof kRequest - 1, MSG_NOSIGNAL);
    answer = ReadAll(fd);
  });
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 0\r\n"));
}

TEST_F(HealthCheckPortsTest, ATakenPortIsReportedOnceAndTriedAgain) {
  Port taken = FreePort();
  auto holder = HttpServer::Listen(&loop_, {Ip("127.0.0.1"), taken}, {});
  ASSERT_TRUE(holder.ok());
  ports_.Update("ns/bad", Check(taken, 1));
  Port port = FreePort();
  ports_.Update("ns/good", Check(port, 1));
  // Others go on, and so does its own other address.
  EXPECT_THAT(Ask(port), HasSubstr("200 OK"));
  EXPECT_THAT(Ask(taken, "127.0.0.2"), HasSubstr("200 OK"));
  EXPECT_EQ(ports_.stats().missing, 1u);
  While([] { usleep(100000); });
  ports_.Update("ns/bad", Check(taken, 2));
  EXPECT_THAT(failed_, ElementsAre("ns/bad"));
  holder->reset();
  While([] { usleep(100000); });
  EXPECT_THAT(Ask(taken), HasSubstr("200 OK"));
  EXPECT_EQ(ports_.stats().missing, 0u);
}

TEST_F(HealthCheckPortsTest, APortMovesFromOneServiceToAnother) {
  Port port = FreePort();
  ports_.Update("ns/a", Check(port, 1));
  ports_.Update("ns/b", Check(port, 1));
  EXPECT_THAT(failed_, ElementsAre("ns/b"));
  ports_.Update("ns/a", std::nullopt);
  EXPECT_THAT(Ask(port), HasSubstr("\"name\": \"b\""));
}

TEST_F(HealthCheckPortsTest, AFamilyWithoutClusterIpIsNotServed) {
  Port port = FreePort();
  ports_.SetAddresses({Ip("127.0.0.1"), Ip("::1")});
  HealthCheck check = Check(port, 1);
  ports_.Update("ns/svc", check);
  EXPECT_EQ(ports_.stats().listeners, 1u);
  check.local_ready6 = 0;
  ports_.Update("ns/svc", check);
  EXPECT_EQ(ports_.stats().listeners, 2u);
}

}  // namespace
}  // namespace fairlead::agent
