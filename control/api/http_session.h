// SPDX-License-Identifier: Apache-2.0
// One connection of the HTTP server: its requests one after the other, their
// answers, and what becomes of it after an upgrade.
//
// Threads: the event loop's only. A session lives until it has told its owner
// that it is closed, and as long as an answer is owed.
#ifndef FAIRLEAD_CONTROL_API_HTTP_SESSION_H_
#define FAIRLEAD_CONTROL_API_HTTP_SESSION_H_

#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "control/api/http_server.h"
#include "userspace/base/event_loop.h"
#include "userspace/pki/tls_server.h"

namespace fairlead::api {

class HttpSession {
 public:
  // Who holds the sessions.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void Closed(const std::shared_ptr<HttpSession>& session) = 0;
    virtual void Serve(kube::Request request, const Peer& peer,
                       ResponderRef responder) = 0;
  };
  virtual ~HttpSession() = default;

  virtual void Start() = 0;
  // The owner goes away: closes.
  virtual void Orphan() = 0;
};

// Null `tls`: plain HTTP.
std::shared_ptr<HttpSession> MakeHttpSession(
    EventLoop* loop, boost::asio::ip::tcp::socket socket, pki::TlsContext tls,
    const HttpLimits& limits, HttpSession::Owner* owner);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_HTTP_SESSION_H_
