// SPDX-License-Identifier: Apache-2.0
// Which server the transport trusts, who it says it is, and where it turns
// when a server can't be reached: real sockets and real TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/match.h"
#include "tests/unit/loopback_server.h"
#include "tests/unit/test_certificates.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/bearer_token.h"
#include "userspace/kube/http_transport.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kube/service_account.h"
#include "userspace/kube/tls_source.h"

namespace fairlead::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Ok(const std::string& body) {
  return StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n",
                body);
}

// Accepts one TLS connection after another; answers each request with the
// subject of the client's certificate, the bearer token, or "nobody".
class TlsServer {
 public:
  TlsServer(const Pem& own, const std::string& client_ca)
      : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free) {
    Owned<BIO> certificate(BIO_new_mem_buf(own.certificate.data(), -1));
    Owned<X509> x509(
        PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
    Owned<BIO> key(BIO_new_mem_buf(own.key.data(), -1));
    Owned<EVP_PKEY> pkey(
        PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
    EXPECT_EQ(SSL_CTX_use_certificate(context_.get(), x509.get()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_.get(), pkey.get()), 1);
    Owned<BIO> ca(BIO_new_mem_buf(client_ca.data(), -1));
    Owned<X509> ca509(PEM_read_bio_X509(ca.get(), nullptr, nullptr, nullptr));
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), ca509.get());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    // Its handshake takes the first bytes, so that they aren't read as HTTP.
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 16), 0);
    socklen_t size = sizeof address;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }
  ~TlsServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string url() const { return StrCat("https://127.0.0.1:", port_); }

 private:
  void Accept() {
    for (;;) {
      UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd.valid()) return;
      std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context_.get()),
                                                    SSL_free);
      SSL_set_fd(ssl.get(), fd.get());
      if (SSL_accept(ssl.get()) != 1) continue;
      char buffer[8192];
      const int length = SSL_read(ssl.get(), buffer, sizeof buffer);
      if (length <= 0) continue;
      std::string who = "nobody";
      const std::string request(buffer, static_cast<size_t>(length));
      if (const size_t token = request.find("Bearer "); token != request.npos) {
        who = request.substr(token, request.find('\r', token) - token);
      }
      if (X509* peer = SSL_get0_peer_certificate(ssl.get())) {
        char name[256];
        X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName,
                                  name, sizeof name);
        who = name;
      }
      const std::string answer =
          StrCat("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                 who.size(), "\r\n\r\n", who);
      SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size()));
      SSL_shutdown(ssl.get());
    }
  }

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  UniqueFd listener_;
  int port_ = 0;
  std::thread thread_;
};

class ServersTest : public ::testing::Test {
 protected:
  // The body of the answer, or "ERROR: ...".
  std::string Get(const ApiServer& server) {
    auto transport = MakeHttpTransport(&loop_, server);
    if (!transport.ok()) return StrCat("ERROR: ", transport.status().message());
    transport_ = *std::move(transport);
    return Again();
  }
  std::string Again() {
    std::string text;
    Request request;
    request.target = "/x";
    auto call = transport_->Do(request, [&](absl::StatusOr<Response> answer) {
      text = answer.ok() ? answer->body
                         : StrCat("ERROR: ", answer.status().message());
      loop_.Stop();
    });
    loop_.Run();
    return text;
  }

  EventLoop loop_;
  TestAuthority authority_;
  std::unique_ptr<Transport> transport_;
};

TEST_F(ServersTest, NamesAndAddressesOfCertificatesAreVerified) {
  struct Case {
    const char* names;
    int seconds;
    const char* server_name;
    const char* answer;
  };
  for (const Case& c : std::vector<Case>{
           {"IP:127.0.0.1", 3600, "", "nobody"},
           {"IP:127.0.0.2", 3600, "", "it is not for \"127.0.0.1\""},
           {"DNS:kubernetes.default", 3600, "", "it is not for \"127.0.0.1\""},
           {"DNS:kubernetes.default", 3600, "kubernetes.default", "nobody"},
           {"DNS:kubernetes.default", 3600, "other.example",
            "it is not for \"other.example\""},
           {"IP:127.0.0.1", -60, "", "certificate has expired"}}) {
    TlsServer tls(authority_.Make("server", c.names, c.seconds),
                  authority_.pem());
    ApiServer server{.url = tls.url(), .ca_pem = authority_.pem()};
    server.tls_server_name = c.server_name;
    EXPECT_THAT(Get(server), HasSubstr(c.answer)) << c.names;
    // Whoever asks for it gets it.
    server.ca_pem.clear();
    server.insecure_skip_verify = true;
    EXPECT_EQ(Get(server), "nobody");
  }
  TlsServer tls(authority_.Make("server", "IP:127.0.0.1"), authority_.pem());
  TestAuthority other;
  EXPECT_THAT(Get({.url = tls.url(), .ca_pem = other.pem()}),
              HasSubstr("certificate is refused: "));
}

TEST_F(ServersTest, ClientCertificates) {
  TlsServer tls(authority_.Make("server", "IP:127.0.0.1"), authority_.pem());
  const Pem own = authority_.Make("node-1", "");
  EXPECT_EQ(Get({.url = tls.url(), .ca_pem = authority_.pem(),
                 .client_certificate_pem = own.certificate,
                 .client_key_pem = own.key}),
            "node-1");
  // One that has ended: the server hangs up, with a word.
  const Pem old = authority_.Make("node-1", "", -60);
  EXPECT_THAT(Get({.url = tls.url(), .ca_pem = authority_.pem(),
                   .client_certificate_pem = old.certificate,
                   .client_key_pem = old.key}),
              HasSubstr("expired"));
  EXPECT_THAT(Get({.url = tls.url(), .ca_pem = "no PEM"}),
              HasSubstr("certificate-authority"));
  EXPECT_THAT(Get({.url = tls.url(), .ca_pem = authority_.pem(),
                   .client_certificate_pem = own.certificate,
                   .client_key_pem = "no PEM"}),
              HasSubstr("client-key"));
}

// As kubeadm and the kubelet do it: files that are replaced, here one by one.
TEST_F(ServersTest, AClientCertificateFromFilesRotates) {
  TlsServer tls(authority_.Make("server", "IP:127.0.0.1"), authority_.pem());
  const std::string folder = ::testing::TempDir() + "/rotating_certificate";
  std::filesystem::create_directories(folder);
  auto write = [&](const char* name, const std::string& pem) {
    std::ofstream(StrCat(folder, "/", name)) << pem;
  };
  const Pem old = authority_.Make("old", "", -60);
  const Pem one = authority_.Make("node-one", "");
  write("cert", old.certificate);
  write("key", old.key);
  write("config", StrCat("current-context: c\n"
                         "contexts: [{name: c, context: {cluster: c, user: u}}]"
                         "\nclusters: [{name: c, cluster: {server: '",
                         tls.url(), "', certificate-authority: ca}}]\n"
                         "users: [{name: u, user: {client-certificate: cert, "
                         "client-key: key}}]\n"));
  write("ca", authority_.pem());
  auto server = LoadKubeconfig(folder + "/config");
  ASSERT_TRUE(server.ok()) << server.status();
  // Refused, so that the files are read before the next request.
  EXPECT_THAT(Get(*server), HasSubstr("expired"));
  write("cert", one.certificate);
  EXPECT_THAT(Again(), HasSubstr("expired"));  // half a pair is none
  write("key", one.key);
  EXPECT_EQ(Again(), "node-one");
  std::filesystem::remove_all(folder);
  EXPECT_EQ(Again(), "node-one");
}

TEST(TlsSource, ReadAgainAsItRotates) {
  TestAuthority authority;
  const std::string path = ::testing::TempDir() + "/aging_certificate";
  auto write = [&](const Pem& pem) {
    std::ofstream(path) << pem.certificate << pem.key;  // both in one file
  };
  const Pem one = authority.Make("one", "");
  write(one);
  auto source = TlsSource::Make({.client_certificate_pem = one.certificate,
                                 .client_key_pem = one.key,
                                 .client_certificate_file = path,
                                 .client_key_file = path});
  ASSERT_TRUE(source.ok()) << source.status();
  const auto first = source->Current(absl::Seconds(1));
  write(authority.Make("two", ""));
  EXPECT_EQ(source->Current(absl::Seconds(5)), first);
  const auto second = source->Current(absl::Seconds(12));
  EXPECT_NE(second, first);
  write({});
  EXPECT_EQ(source->Current(absl::Seconds(60)), second);
  std::filesystem::remove(path);
  EXPECT_EQ(source->Current(absl::Seconds(120)), second);
}

// Nobody listens there, as far as can be made sure of: the port is ours.
struct ClosedPort {
  ClosedPort() : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof address), 0);
    socklen_t size = sizeof address;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    url = StrCat("http://127.0.0.1:", ntohs(address.sin_port));
  }
  UniqueFd fd;
  std::string url;
};

LoopbackServer::Serve Says(const std::string& word) {
  return [answer = Ok(word)](int fd, const std::string&) {
    return send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) > 0;
  };
}

TEST_F(ServersTest, TheNextServerWhenOneCantBeReached) {
  ClosedPort closed;
  auto first = std::make_unique<LoopbackServer>(Says("first"));
  LoopbackServer second(Says("second"));
  ApiServer server{.url = closed.url,
                   .more_urls = {first->url(), second.url()}};
  EXPECT_EQ(Get(server), "first");
  EXPECT_EQ(Again(), "first");
  first.reset();
  EXPECT_EQ(Again(), "second");
  EXPECT_EQ(Again(), "second");
  // All of them down: each was tried once, and the last one is named.
  ClosedPort other;
  EXPECT_THAT(Get({.url = closed.url, .more_urls = {other.url}}),
              AllOf(HasSubstr(other.url.substr(7)), HasSubstr("connect:")));
}

TEST_F(ServersTest, ATokenIsReadAgainWhenItIsRefused) {
  const std::string path = ::testing::TempDir() + "/rotating_token";
  std::ofstream(path) << "one\n";
  std::vector<std::string> seen;
  LoopbackServer http([&](int fd, const std::string& request) {
    const bool good = absl::StrContains(request, "Bearer two\r\n");
    seen.push_back(request.substr(request.find("Bearer ") + 7, 3));
    const std::string answer =
        good ? Ok("in")
             : "HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nout";
    return send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) > 0;
  });
  EXPECT_EQ(Get({.url = http.url(), .bearer_token_file = path}), "out");
  std::ofstream(path) << "two\n";
  EXPECT_EQ(Again(), "in");
  std::filesystem::remove(path);
  EXPECT_EQ(Again(), "in");
  EXPECT_THAT(seen, ElementsAre("one", "two", "two"));
}

TEST_F(ServersTest, APodsAccount) {
  const std::string folder = ::testing::TempDir() + "/account";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  TlsServer tls(authority_.Make("server", "IP:127.0.0.1"), authority_.pem());
  unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_THAT(InClusterServer(folder).status().message(),
              HasSubstr("this is not a pod"));
  setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1);
  setenv("KUBERNETES_SERVICE_PORT",
         tls.url().substr(tls.url().rfind(':') + 1).c_str(), 1);
  // Each piece that is missing is named.
  EXPECT_FALSE(HasServiceAccount(folder));
  EXPECT_THAT(InClusterServer(folder).status().message(),
              AllOf(HasSubstr(folder + "/token: No such file"),
                    HasSubstr("automountServiceAccountToken")));
  std::ofstream(folder + "/token") << "secret\n";
  EXPECT_TRUE(HasServiceAccount(folder));
  std::ofstream(folder + "/ca.crt") << "\n";
  EXPECT_THAT(InClusterServer(folder).status().message(),
              HasSubstr(folder + "/ca.crt: is empty"));
  std::ofstream(folder + "/ca.crt") << authority_.pem();
  auto server = InClusterServer(folder);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(server->url, tls.url());
  EXPECT_EQ(Get(*server), "Bearer secret");
  // Its CA is the one that is trusted, and no other.
  TestAuthority other;
  std::ofstream(folder + "/ca.crt") << other.pem();
  EXPECT_THAT(Get(*InClusterServer(folder)),
              HasSubstr("certificate is refused: "));
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  EXPECT_EQ(InClusterServer(folder)->url, "https://[fd00::1]:443");
}

TEST(BearerToken, ReadAgainAsItRotates) {
  const std::string path = ::testing::TempDir() + "/aging_token";
  std::ofstream(path) << "one\n";
  BearerToken token("zero", path);
  EXPECT_EQ(token.Current(absl::Seconds(1)), "one");
  std::ofstream(path) << "two\n";
  EXPECT_EQ(token.Current(absl::Seconds(5)), "one");
  EXPECT_EQ(token.Current(absl::Seconds(12)), "two");
  std::ofstream(path) << "";  // half written
  EXPECT_EQ(token.Current(absl::Seconds(60)), "two");
  std::filesystem::remove(path);
  EXPECT_EQ(token.Current(absl::Seconds(120)), "two");
  EXPECT_EQ(BearerToken("fixed", "").Current(absl::Seconds(1)), "fixed");
}

}  // namespace
}  // namespace fairlead::kube
