// SPDX-License-Identifier: Apache-2.0
// A TCP connection from inside a pod's network namespace to a port on the
// pod's loopback addresses, 127.0.0.1 first and then ::1.
//
// Threads: the event loop's only. What is under way keeps it and its owner.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_POD_SOCKET_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_POD_SOCKET_H_

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/ip_address.h"

namespace fairlead::kubelet {

class PodSocket : public std::enable_shared_from_this<PodSocket> {
 public:
  // Nothing is called from inside a call of the socket's, nor after Close().
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnConnected(uint32_t id, const absl::Status& status) = 0;
    // Read() has something to tell.
    virtual void OnReadable(uint32_t id) = 0;
    // `unsent` became less; once more when the other end has gone.
    virtual void OnTaken(uint32_t id, size_t bytes) = 0;
  };

  // `id` is the owner's name for it.
  PodSocket(EventLoop* loop, std::weak_ptr<Owner> owner, uint32_t id)
      : loop_(loop), owner_(std::move(owner)), id_(id), socket_(loop->io()) {}

  // `netns`: path; "": this process' own. The error is what both addresses had
  // to say, in the words of containerd.
  void Connect(const std::string& netns, Port port);

  // One OnReadable.
  void WaitReadable();
  enum class Result { kBytes, kNothing, kEnd, kBroken };
  // Does not wait. kBytes: `*n` of them, at most `size`.
  Result Read(char* buffer, size_t size, size_t* n);

  // Sent as the other end takes it, also before OnConnected.
  void Write(std::string_view bytes);
  // No more will be written: the other end sees that after what was.
  void FinishWriting();
  size_t unsent() const { return pending_.size() + writing_.size(); }

  void Close();

 private:
  using ErrorCode = boost::system::error_code;
  using Tcp = boost::asio::ip::tcp;

  void Try(const std::string& netns, const Tcp::endpoint& endpoint,
           std::function<void(const std::string& error)> done);
  void OnOpened(const absl::Status& status);
  void Flush();

  EventLoop* loop_;
  std::weak_ptr<Owner> owner_;
  uint32_t id_;
  Tcp::socket socket_;
  std::string pending_, writing_;
  bool connected_ = false, finished_ = false, deaf_ = false, closed_ = false;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_POD_SOCKET_H_
