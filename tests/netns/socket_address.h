// SPDX-License-Identifier: Apache-2.0
// A sockaddr as a value, from and to L4Address. Any thread.
#ifndef FAIRLEAD_TESTS_NETNS_SOCKET_ADDRESS_H_
#define FAIRLEAD_TESTS_NETNS_SOCKET_ADDRESS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "userspace/base/ip_address.h"

namespace fairlead::harness {

class SocketAddress {
 public:
  // Room for the kernel to write any address.
  SocketAddress() = default;
  explicit SocketAddress(const L4Address& from) {
    if (from.address.is_v4()) {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&storage_);
      v4->sin_family = AF_INET;
      v4->sin_port = htons(from.port);
      v4->sin_addr.s_addr = htonl(from.address.v4_host_order());
      size_ = sizeof *v4;
      return;
    }
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage_);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from.port);
    std::memcpy(&v6->sin6_addr, from.address.bytes().data(), 16);
    size_ = sizeof *v6;
  }

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  socklen_t* size_pointer() { return &size_; }

  IpAddress address() const {
    if (storage_.ss_family == AF_INET) {
      return IpAddress::V4(ntohl(
          reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr));
    }
    IpAddress::Bytes bytes;
    std::memcpy(bytes.data(),
                &reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr,
                bytes.size());
    return IpAddress(bytes);
  }
  Port port() const {
    // The same place in both.
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  }

 private:
  sockaddr_storage storage_ = {};
  socklen_t size_ = sizeof(sockaddr_storage);
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_SOCKET_ADDRESS_H_
