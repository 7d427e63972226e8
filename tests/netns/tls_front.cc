// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/tls_front.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "tests/netns/socket_address.h"
#include "userspace/base/status.h"

namespace fairlead::harness {
namespace {

std::shared_ptr<SSL_CTX> MakeContext(const kube::Pem& pem) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()),
                                   SSL_CTX_free);
  kube::Owned<BIO> text(BIO_new_mem_buf(pem.certificate.data(), -1));
  kube::Owned<X509> x509(
      PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
  kube::Owned<BIO> key(BIO_new_mem_buf(pem.key.data(), -1));
  kube::Owned<EVP_PKEY> pkey(
      PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
  SSL_CTX_use_certificate(context.get(), x509.get());
  SSL_CTX_use_PrivateKey(context.get(), pkey.get());
  return context;
}

bool SendAll(int fd, const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t n = send(fd, bytes, count, MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes += n;
    count -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

TlsFront::TlsFront(const NetnsScope* netns, L4Address listen, L4Address server)
    : netns_(netns), listen_(listen), server_(server) {}

absl::Status TlsFront::Start(const kube::Pem& certificate) {
  signal(SIGPIPE, SIG_IGN);  // SSL_write() to who has gone
  Present(certificate);
  FL_RETURN_IF_ERROR(netns_->Run([&]() -> absl::Status {
    SocketAddress address(listen_);
    listener_.reset(socket(address.get()->sa_family,
                           SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener_.get(), address.get(), address.size()) < 0 ||
        listen(listener_.get(), 64) < 0) {
      return ErrnoStatus(errno, "listen", listen_.ToString());
    }
    return absl::OkStatus();
  }));
  thread_ = std::thread([this] { Accept(); });
  return absl::OkStatus();
}

void TlsFront::Stop() {
  if (!listener_.valid()) return;
  shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
  listener_.reset();
  EndConnections();
}

void TlsFront::Present(const kube::Pem& certificate) {
  {
    std::lock_guard lock(mutex_);
    context_ = MakeContext(certificate);
  }
  EndConnections();
}

void TlsFront::EndConnections() {
  std::list<Connection> ended;
  {
    std::lock_guard lock(mutex_);
    ended.swap(connections_);
  }
  for (Connection& connection : ended) {
    shutdown(connection.client.get(), SHUT_RDWR);
    shutdown(connection.server.get(), SHUT_RDWR);
    connection.thread.join();
  }
}

std::string TlsFront::FirstBytes() {
  std::lock_guard lock(mutex_);
  return first_bytes_;
}

absl::StatusOr<UniqueFd> TlsFront::Connect() const {
  UniqueFd fd;
  FL_RETURN_IF_ERROR(netns_->Run([&]() -> absl::Status {
    SocketAddress address(server_);
    fd.reset(socket(address.get()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd.get(), address.get(), address.size()) < 0) {
      return ErrnoStatus(errno, "connect", server_.ToString());
    }
    return absl::OkStatus();
  }));
  return fd;
}

void TlsFront::Accept() {
  for (;;) {
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return;
    auto server = Connect();
    if (!server.ok()) continue;
    std::lock_guard lock(mutex_);
    Connection& connection = connections_.emplace_back();
    connection.client = std::move(client);
    connection.server = *std::move(server);
    connection.thread =
        std::thread([this, &connection, context = context_] {
          Pass(&connection, context);
        });
  }
}

void TlsFront::Pass(Connection* connection, std::shared_ptr<SSL_CTX> context) {
  const int client = connection->client.get();
  const int server = connection->server.get();
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()),
                                                SSL_free);
  SSL_set_fd(ssl.get(), client);
  if (SSL_accept(ssl.get()) == 1) {
    ++accepted_;
    bool first = true;
    char buffer[16384];
    pollfd ready[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    for (;;) {
      if (SSL_pending(ssl.get()) == 0 && poll(ready, 2, -1) < 0) break;
      if (SSL_pending(ssl.get()) > 0 || ready[0].revents != 0) {
        const int n = SSL_read(ssl.get(), buffer, sizeof buffer);
        if (n <= 0 || !SendAll(server, buffer, static_cast<size_t>(n))) break;
        if (std::exchange(first, false)) {
          std::lock_guard lock(mutex_);
          first_bytes_.assign(buffer, static_cast<size_t>(n));
        }
      }
      if (ready[1].revents != 0) {
        const ssize_t n = read(server, buffer, sizeof buffer);
        if (n <= 0 || SSL_write(ssl.get(), buffer, static_cast<int>(n)) <= 0) {
          break;
        }
      }
      ready[0].revents = ready[1].revents = 0;
    }
    SSL_shutdown(ssl.get());
  }
  shutdown(client, SHUT_RDWR);
  shutdown(server, SHUT_RDWR);
}

}  // namespace fairlead::harness
