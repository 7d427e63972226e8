// SPDX-License-Identifier: Apache-2.0
// TCP and TLS connections to an API server, for the HTTP transport.
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBE_BYTE_STREAM_H_
#define FAIRLEAD_USERSPACE_KUBE_BYTE_STREAM_H_

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/kube/kubeconfig.h"

namespace fairlead::kube {

class ByteStream {
 public:
  using Error = boost::system::error_code;
  using Done = std::function<void(Error, size_t)>;
  virtual ~ByteStream() = default;
  virtual boost::asio::ip::tcp::socket& socket() = 0;
  // An error says what is wrong with the server's certificate. `done` keeps
  // the stream alive.
  virtual void Handshake(std::function<void(absl::Status)> done) = 0;
  virtual void Read(boost::asio::mutable_buffer buffer, Done done) = 0;
  virtual void Write(boost::asio::const_buffer buffer, Done done) = 0;
};

// What TLS connections to a server share: its CA, our certificate, the name.
class TlsSettings {
 public:
  // Errors (kInvalidArgument) name the part that is no good.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<TlsSettings>> Make(
      const ApiServer& server);

 private:
  friend class TlsStream;
  TlsSettings() : context_(boost::asio::ssl::context::tls_client) {}
  boost::asio::ssl::context context_;
  bool verify_ = true;
  std::string server_name_;  // "": the URL's host
};

// `tls` null: plain. `host`: a name or an address, which the server's
// certificate must be for (a DNS or an IP subject alternative name).
std::unique_ptr<ByteStream> MakeByteStream(
    boost::asio::io_context& io, const std::shared_ptr<TlsSettings>& tls,
    const std::string& host);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_BYTE_STREAM_H_
