// SPDX-License-Identifier: Apache-2.0
// Who may ask the kubelet: its server over real TLS on loopback, and clients
// with all sorts of certificates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "absl/time/clock.h"
#include "tests/harness/scopes.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/strings.h"
#include "userspace/base/write_file.h"
#include "userspace/kube/http_transport.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kubelet/server/access.h"
#include "userspace/kubelet/server/kubelet_server.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/kubelet_client.h"

namespace fairlead::kubelet {
namespace {

using testing::HasSubstr;

const IpAddress kLoopback = *IpAddress::Parse("127.0.0.1");

class KubeletServerTest : public testing::Test {
 protected:
  KubeletServerTest() {
    dir_.emplace(*harness::TempDirScope::Create());
    cluster_.emplace(*pki::Authority::Open(Path("pki"), absl::Now()));
    files_ = {.certificate = Path("kubelet.crt"),
              .private_key = Path("kubelet.key"),
              .client_authority = Path("pki/ca.crt")};
    WriteServing(*cluster_);
  }

  std::string Path(const std::string& name) const {
    return dir_->path() + "/" + name;
  }
  void WriteServing(const pki::Authority& authority) {
    const auto made =
        authority.IssueServer("node-1", {}, {kLoopback}, absl::Now());
    ASSERT_TRUE(made.ok()) << made.status();
    ASSERT_TRUE(
        WriteFile(files_.certificate, made->certificate_pem, 0644).ok());
    ASSERT_TRUE(WriteFile(files_.private_key, made->key_pem, 0600).ok());
  }

  void Serve() {
    server_.emplace(
        &loop_,
        [](const std::string&, const std::string&) -> PodWorker* {
          return nullptr;
        },
        [] { return NodeStats{.name = "node-1", .sample = {}, .pods = {}}; });
    auto tls = ServingTls::Open(files_);
    ASSERT_TRUE(tls.ok()) << tls.status();
    ASSERT_TRUE(server_->Listen(kLoopback, 0, *std::move(tls)).ok());
  }

  // The certificate of a client that `authority` knows by these names.
  static pki::Credential Client(const pki::Authority& authority,
                                const pki::Subject& subject,
                                absl::Time now = absl::Now()) {
    auto made = authority.IssueClient(subject, now);
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  // A request by whom `credential` is; its answer, or why there is none.
  absl::StatusOr<kube::Response> Ask(const pki::Credential& credential,
                                     const std::string& target,
                                     const std::string& method = "GET",
                                     const std::string& scheme = "https") {
    const kube::ApiServer peer{
        .url = StrCat(scheme, "://127.0.0.1:", server_->port()),
        .ca_pem = cluster_->certificate().ToPem(),
        .client_certificate_pem = credential.certificate_pem,
        .client_key_pem = credential.key_pem};
    auto transport = kube::MakeHttpTransport(&loop_, peer);
    if (!transport.ok()) return transport.status();
    absl::StatusOr<kube::Response> out = absl::InternalError("no answer");
    std::unique_ptr<kube::Call> call;
    loop_.Post([&] {
      call = (*transport)->Do({.method = method, .target = target},
                              [&](absl::StatusOr<kube::Response> answer) {
                                out = std::move(answer);
                                loop_.Stop();
                              });
    });
    loop_.Run();
    return out;
  }
  void ExpectAnswer(const pki::Credential& credential,
                    const std::string& target, int status,
                    const std::string& body,
                    const std::string& method = "GET") {
    const auto answer = Ask(credential, target, method);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->status, status) << target;
    EXPECT_EQ(answer->body, body) << target;
  }

  EventLoop loop_;
  std::optional<harness::TempDirScope> dir_;
  std::optional<pki::Authority> cluster_;
  TlsFiles files_;
  std::optional<KubeletServer> server_;
};

constexpr char kExec[] = "/exec/default/p/c?command=id&output=1";
constexpr char kNoPod[] = "pod \"default/p\" does not exist\n";

TEST_F(KubeletServerTest, TheApiServerAndAdministratorsAreServed) {
  Serve();
  const auto api_server = Client(*cluster_, {pki::kKubeletClientUser, {}});
  ExpectAnswer(api_server, "/healthz", 200, "ok");
  ExpectAnswer(api_server, kExec, 404, kNoPod);
  ExpectAnswer(Client(*cluster_, {"ann", {"ops", "system:masters"}}), kExec,
               404, kNoPod);
}

TEST_F(KubeletServerTest, WhoShowsNothingIsUnauthorized) {
  Serve();
  for (const char* path : {kExec, "/containerLogs/default/p/c", "/healthz",
                           "/stats/summary", "/metrics/resource", "/none"}) {
    ExpectAnswer({}, path, 401, "Unauthorized");
  }
  ExpectAnswer({}, kExec, 401, "Unauthorized", "POST");
}

TEST_F(KubeletServerTest, AnotherAuthoritysCertificateIsNone) {
  Serve();
  auto other = pki::Authority::Open(Path("other"), absl::Now());
  ASSERT_TRUE(other.ok());
  ExpectAnswer(Client(*other, {pki::kKubeletClientUser, {"system:masters"}}),
               kExec, 401, "Unauthorized");
}

TEST_F(KubeletServerTest, AnExpiredCertificateIsNone) {
  Serve();
  ExpectAnswer(Client(*cluster_, {pki::kKubeletClientUser, {}},
                      absl::Now() - pki::kLeafLife - absl::Hours(1)),
               kExec, 401, "Unauthorized");
}

TEST_F(KubeletServerTest, OthersOfTheClusterAreForbidden) {
  Serve();
  const auto node = Client(*cluster_, {"system:node:node-2", {"system:nodes"}});
  const std::string who = "Forbidden (user=system:node:node-2, verb=";
  ExpectAnswer(node, kExec, 403,
               who + "get, resource=nodes, subresource=proxy)");
  ExpectAnswer(node, kExec, 403,
               who + "create, resource=nodes, subresource=proxy)", "POST");
  ExpectAnswer(node, "/stats/summary", 403,
               who + "get, resource=nodes, subresource=stats)");
  ExpectAnswer(node, "/metrics/resource", 403,
               who + "get, resource=nodes, subresource=metrics)");
  // A group of that name is not the user.
  ExpectAnswer(Client(*cluster_, {"ann", {pki::kKubeletClientUser}}),
               "/healthz", 403,
               "Forbidden (user=ann, verb=get, resource=nodes, "
               "subresource=proxy)");
}

TEST_F(KubeletServerTest, PlainHttpIsToldSo) {
  Serve();
  const auto answer = Ask({}, "/healthz", "GET", "http");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 400);
  EXPECT_THAT(answer->body,
              HasSubstr("Client sent an HTTP request to an HTTPS server"));
}

TEST_F(KubeletServerTest, ReplacedFilesAreServed) {
  auto tls = ServingTls::Open(files_);
  ASSERT_TRUE(tls.ok()) << tls.status();
  const absl::Duration later = Clock::Real().Monotonic() + absl::Hours(1);
  const pki::TlsContext first = tls->Current(later);
  EXPECT_EQ(tls->Current(later + absl::Hours(1)), first);
  // Half of a pair is not used.
  ASSERT_TRUE(WriteFile(files_.private_key, "", 0600).ok());
  EXPECT_EQ(tls->Current(later + absl::Hours(2)), first);
  WriteServing(*cluster_);
  const pki::TlsContext second = tls->Current(later + absl::Hours(3));
  EXPECT_NE(second, first);
  // Not looked at again at once.
  WriteServing(*cluster_);
  EXPECT_EQ(tls->Current(later + absl::Hours(3) + absl::Seconds(1)), second);
}

TEST_F(KubeletServerTest, BadFilesAreNamed) {
  auto error = [&] {
    const auto tls = ServingTls::Open(files_);
    return tls.ok() ? "served" : tls.status().ToString();
  };
  ASSERT_TRUE(WriteFile(files_.private_key, "no key", 0600).ok());
  EXPECT_THAT(error(), HasSubstr(files_.private_key));
  WriteServing(*cluster_);
  files_.client_authority = files_.private_key;
  EXPECT_THAT(error(), HasSubstr(files_.private_key + ": not a certificate"));
  files_.certificate = Path("missing");
  EXPECT_THAT(error(), HasSubstr(files_.certificate));
}

}  // namespace
}  // namespace fairlead::kubelet
