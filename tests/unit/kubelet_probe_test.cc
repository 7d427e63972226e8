// SPDX-License-Identifier: Apache-2.0
// gRPC and HTTPS probes against real servers on loopback.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/health.grpc.pb.h"
#include "userspace/kubelet/probes/action.h"
#include "userspace/pki/certificate.h"

namespace fairlead::kubelet {
namespace {

namespace asio = boost::asio;
namespace health = ::grpc::health::v1;
using asio::ip::tcp;
using ::testing::HasSubstr;

ActionResult Do(const Action& action,
                absl::Duration timeout = absl::Seconds(5)) {
  EventLoop loop;
  std::optional<ActionResult> result;
  std::unique_ptr<ActionCall> call;
  loop.Post([&] {
    call = RunAction(&loop, action, {.host = "127.0.0.1", .enter = {}},
                     timeout, [&](ActionResult r) {
                       result = std::move(r);
                       loop.Stop();
                     });
  });
  loop.Run();
  return *result;
}

// Knows "web", which is well until told otherwise; and answers as slowly as
// it is told.
class HealthService final : public health::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext* context,
                     const health::HealthCheckRequest* request,
                     health::HealthCheckResponse* response) override {
    const auto agent = context->client_metadata().find("user-agent");
    if (agent != context->client_metadata().end())
      user_agent = std::string(agent->second.data(), agent->second.size());
    for (int i = 0; slow && i < 100; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (request->service() != "web")
      return {grpc::StatusCode::NOT_FOUND, "unknown service"};
    response->set_status(well ? health::HealthCheckResponse::SERVING
                              : health::HealthCheckResponse::NOT_SERVING);
    return grpc::Status::OK;
  }
  std::atomic<bool> well{true}, slow{false};
  std::string user_agent;  // read after the answer
};

struct GrpcServer {
  explicit GrpcServer(grpc::Service* service) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    if (service != nullptr) builder.RegisterService(service);
    server = builder.BuildAndStart();
  }
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

Action GrpcAction(int port, const std::string& service) {
  Action action;
  action.type = Action::Type::kGrpc;
  action.port = static_cast<Port>(port);
  action.service = service;
  return action;
}

TEST(GrpcProbeTest, ServingIsSuccess) {
  HealthService service;
  const GrpcServer server(&service);
  const Action probe = GrpcAction(server.port, "web");
  const ActionResult good = Do(probe);
  EXPECT_TRUE(good.success) << good.message;
  EXPECT_THAT(service.user_agent, testing::StartsWith("kube-probe/1.32"));
  service.well = false;
  const ActionResult bad = Do(probe);
  EXPECT_FALSE(bad.success);
  EXPECT_EQ(bad.message,
            "service unhealthy (responded with \"NOT_SERVING\")");
}

TEST(GrpcProbeTest, ErrorsAreTheKubelets) {
  HealthService service;
  const GrpcServer server(&service);
  EXPECT_EQ(Do(GrpcAction(server.port, "")).message,
            "error: health rpc probe failed: rpc error: code = NotFound desc "
            "= unknown service");
  service.slow = true;
  EXPECT_EQ(Do(GrpcAction(server.port, "web"), absl::Milliseconds(500))
                .message,
            "timeout: health rpc did not complete within 500ms");
  service.slow = false;
}

// Answers with `Unimplemented`, as every server without the service does.
TEST(GrpcProbeTest, AServerWithoutTheService) {
  health::Health::Service other;  // says so of each of its methods
  const GrpcServer server(&other);
  EXPECT_THAT(Do(GrpcAction(server.port, "")).message,
              HasSubstr("error: this server does not implement the grpc "
                        "health protocol (grpc.health.v1.Health): "));
}

TEST(GrpcProbeTest, NobodyListens) {
  asio::io_context io;
  tcp::acceptor taken(io, {asio::ip::make_address("127.0.0.1"), 0});
  const int port = taken.local_endpoint().port();
  taken.close();
  EXPECT_EQ(Do(GrpcAction(port, ""), absl::Milliseconds(300)).message,
            absl::StrCat("timeout: failed to connect service \"127.0.0.1:",
                         port, "\" within 300ms: context deadline exceeded"));
}

// The answer of a call that nobody waits for any more goes nowhere.
TEST(GrpcProbeTest, MayBeDestroyedWhileItRuns) {
  HealthService service;
  service.slow = true;
  const GrpcServer server(&service);
  bool called = false;
  {
    EventLoop loop;
    std::unique_ptr<ActionCall> call;
    Timer timer;
    loop.Post([&] {
      call = RunAction(&loop, GrpcAction(server.port, "web"),
                       {.host = "127.0.0.1", .enter = {}}, absl::Seconds(10),
                       [&](const ActionResult&) { called = true; });
      timer = loop.After(absl::Milliseconds(200), [&] {
        call.reset();
        timer = loop.After(absl::Milliseconds(200), [&] { loop.Stop(); });
      });
    });
    loop.Run();
  }
  service.slow = false;
  EXPECT_FALSE(called);
}

// Answers one connection with `reply`, over TLS or not.
class OneAnswer {
 public:
  OneAnswer(const std::string& reply, bool tls)
      : acceptor_(io_, {asio::ip::make_address("127.0.0.1"), 0}),
        context_(asio::ssl::context::tls_server),
        thread_([this, reply, tls] { Serve(reply, tls); }) {}
  ~OneAnswer() { thread_.join(); }
  Port port() const { return acceptor_.local_endpoint().port(); }

 private:
  void Serve(const std::string& reply, bool tls) {
    boost::system::error_code error;
    tcp::socket socket = acceptor_.accept();
    if (!tls) {
      asio::write(socket, asio::buffer(reply), error);
      return;
    }
    const auto key = pki::Key::Generate();
    const auto certificate = pki::Issue(
        {.subject = {.common_name = "nobody", .organizations = {}},
         .usage = pki::Usage::kServer,
         .dns_names = {"nobody.example"},
         .addresses = {},
         .not_before = absl::Now() - absl::Hours(2),
         .not_after = absl::Now() - absl::Hours(1)},
        *key, nullptr, *key);
    context_.use_certificate_chain(asio::buffer(certificate->ToPem()));
    context_.use_private_key(asio::buffer(key->ToPem()),
                             asio::ssl::context::pem);
    asio::ssl::stream<tcp::socket&> stream(socket, context_);
    stream.handshake(asio::ssl::stream_base::server, error);
    if (error) return;
    asio::write(stream, asio::buffer(reply), error);
    stream.shutdown(error);
  }

  asio::io_context io_;
  tcp::acceptor acceptor_;
  asio::ssl::context context_;
  std::thread thread_;
};

Action HttpsAction(Port port) {
  Action action;
  action.type = Action::Type::kHttpGet;
  action.https = true;
  action.port = port;
  action.path = "/healthz";
  return action;
}

// Its certificate is over, another name's and nobody's.
TEST(HttpsProbeTest, TheCertificateIsNotLookedAt) {
  {
    const OneAnswer server("HTTP/1.1 200 OK\r\n\r\n", /*tls=*/true);
    const ActionResult good = Do(HttpsAction(server.port()));
    EXPECT_TRUE(good.success) << good.message;
  }
  const OneAnswer server("HTTP/1.1 500 No\r\n\r\n", /*tls=*/true);
  EXPECT_EQ(Do(HttpsAction(server.port())).message,
            "HTTP probe failed with statuscode: 500");
}

TEST(HttpsProbeTest, APlainServer) {
  const OneAnswer server("HTTP/1.1 400 Bad Request\r\n\r\n", /*tls=*/false);
  EXPECT_EQ(Do(HttpsAction(server.port())).message,
            absl::StrCat("Get \"https://127.0.0.1:", server.port(),
                         "/healthz\": http: server gave HTTP response to "
                         "HTTPS client"));
}

TEST(HttpsProbeTest, ASilentServerTimesOut) {
  asio::io_context io;
  tcp::acceptor silent(io, {asio::ip::make_address("127.0.0.1"), 0});
  EXPECT_THAT(Do(HttpsAction(silent.local_endpoint().port()),
                 absl::Milliseconds(100)).message,
              HasSubstr("context deadline exceeded"));
}

}  // namespace
}  // namespace fairlead::kubelet
