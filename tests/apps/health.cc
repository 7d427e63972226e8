// SPDX-License-Identifier: Apache-2.0
// fairlead-health: what probes of a pod ask in tests: gRPC's own health
// service, and HTTPS with a certificate that nobody signed. Beside
// fairlead-echo, because neither links statically.
//
// One thread a connection, as in fairlead-echo.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "proto/health.grpc.pb.h"
#include "userspace/pki/certificate.h"

namespace fairlead::apps {
namespace {

namespace asio = boost::asio;
namespace health = ::grpc::health::v1;
using asio::ip::tcp;

constexpr char kUsage[] =
    R"(Usage: fairlead-health [--grpc PORT] [--https PORT] [--fail FILE]

Tells over IPv4 and IPv6 whether it is well, until SIGTERM.

  --grpc PORT   grpc.health.v1.Health: the server ("") and the service "web"
  --https PORT  every GET is answered with 200 or 503, and printed
  --fail FILE   it is not well while this file is there

Example: fairlead-health --grpc 9000 --https 8443 --fail /tmp/broken
)";

struct Options {
  int grpc = 0, https = 0;
  std::string fail;
  bool Healthy() const { return fail.empty() || !std::filesystem::exists(fail); }
};

[[noreturn]] void Die(const std::string& what) {
  fprintf(stderr, "fairlead-health: %s\n", what.c_str());
  exit(1);
}

// Of a key that lives as long as this process.
void UseOwnCertificate(asio::ssl::context* context) {
  const auto key = pki::Key::Generate();
  if (!key.ok()) Die(key.status().ToString());
  const absl::Time now = absl::Now();
  const auto certificate =
      pki::Issue({.subject = {.common_name = "fairlead-health",
                              .organizations = {}},
                  .usage = pki::Usage::kServer,
                  .dns_names = {"nobody.example"},
                  .addresses = {},
                  .not_before = now - absl::Hours(1),
                  .not_after = now + absl::Hours(1)},
                 *key, nullptr, *key);
  if (!certificate.ok()) Die(certificate.status().ToString());
  context->use_certificate_chain(asio::buffer(certificate->ToPem()));
  context->use_private_key(asio::buffer(key->ToPem()),
                           asio::ssl::context::pem);
}

void ServeHttps(const Options& options, asio::ssl::context* context,
                tcp::socket socket) {
  boost::system::error_code error;
  asio::ssl::stream<tcp::socket> stream(std::move(socket), *context);
  stream.handshake(asio::ssl::stream_base::server, error);
  std::string head;
  if (!error)
    asio::read_until(stream, asio::dynamic_buffer(head), "\r\n\r\n", error);
  if (error) return;
  printf("%s\n", head.substr(0, head.find("\r\n")).c_str());
  fflush(stdout);
  asio::write(stream,
              asio::buffer(std::string(options.Healthy()
                                           ? "HTTP/1.1 200 OK\r\n"
                                           : "HTTP/1.1 503 Error\r\n") +
                           "Content-Length: 0\r\nConnection: close\r\n\r\n"),
              error);
  stream.shutdown(error);
}

void AcceptHttps(const Options& options) {
  asio::io_context io;
  asio::ssl::context context(asio::ssl::context::tls_server);
  UseOwnCertificate(&context);
  const tcp::endpoint any(tcp::v6(),
                          static_cast<unsigned short>(options.https));
  tcp::acceptor acceptor(io);
  acceptor.open(any.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.set_option(asio::ip::v6_only(false));
  acceptor.bind(any);
  acceptor.listen();
  while (true) {
    auto socket = std::make_shared<tcp::socket>(acceptor.accept());
    std::thread([&options, &context, socket] {
      ServeHttps(options, &context, std::move(*socket));
    }).detach();
  }
}

// Not gRPC's own: a server that has nothing else to serve doesn't start with it.
class HealthService final : public health::Health::Service {
 public:
  explicit HealthService(const Options* options) : options_(options) {}
  grpc::Status Check(grpc::ServerContext*,
                     const health::HealthCheckRequest* request,
                     health::HealthCheckResponse* response) override {
    if (!request->service().empty() && request->service() != "web")
      return {grpc::StatusCode::NOT_FOUND, "unknown service"};
    response->set_status(options_->Healthy()
                             ? health::HealthCheckResponse::SERVING
                             : health::HealthCheckResponse::NOT_SERVING);
    return grpc::Status::OK;
  }

 private:
  const Options* options_;
};

std::unique_ptr<grpc::Server> ServeGrpc(const Options& options,
                                        HealthService* service) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("[::]:" + std::to_string(options.grpc),
                           grpc::InsecureServerCredentials());
  builder.RegisterService(service);
  auto server = builder.BuildAndStart();
  if (server == nullptr) Die("no gRPC server");
  return server;
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--help" || flag == "-h") {
      fputs(kUsage, stdout);
      exit(0);
    }
    if (i + 1 == argc) Die(flag + " needs a value; see --help");
    if (flag == "--grpc") options.grpc = atoi(argv[i + 1]);
    else if (flag == "--https") options.https = atoi(argv[i + 1]);
    else if (flag == "--fail") options.fail = argv[i + 1];
    else Die("unknown flag " + flag + "; see --help");
  }
  return options;
}

int Main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  HealthService service(&options);
  std::unique_ptr<grpc::Server> server;
  if (options.grpc != 0) server = ServeGrpc(options, &service);
  if (options.https != 0)
    std::thread([&options] { AcceptHttps(options); }).detach();
  int signal = 0;
  sigwait(&signals, &signal);
  fflush(stdout);
  _exit(0);
}

}  // namespace
}  // namespace fairlead::apps

int main(int argc, char** argv) { return fairlead::apps::Main(argc, argv); }
