// SPDX-License-Identifier: Apache-2.0
// Answers GET requests on a port, one a connection: health and metrics.
//
// Threads: the event loop's only. At most 32 connections at a time, 5 seconds
// each; what is more or slower is closed.
#ifndef FAIRLEAD_USERSPACE_AGENT_HTTP_SERVER_H_
#define FAIRLEAD_USERSPACE_AGENT_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "userspace/agent/config.h"
#include "userspace/base/event_loop.h"

namespace fairlead::agent {

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

class HttpServer {
 public:
  // `answer` gets the path, without a query.
  using Answer = std::function<HttpReply(std::string_view path)>;

  // Port 0: any free one.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(
      EventLoop* loop, const SocketAddress& address, Answer answer);
  // Connections that are open then get an empty 200, as kube-proxy gives to
  // who asks a health check that has just gone.
  ~HttpServer();

  Port port() const;

 private:
  class Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  // Shared with the operations under way.
  std::shared_ptr<Impl> impl_;
};

// The path of a request's head, or nullopt if it isn't a GET (or HEAD).
struct RequestLine {
  std::string method;
  std::string path;
};
std::optional<RequestLine> ParseRequestLine(std::string_view head);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_HTTP_SERVER_H_
