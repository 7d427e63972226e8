// SPDX-License-Identifier: Apache-2.0
// What the two test programs share: socket addresses as text, and time. They
// link statically and to nothing but the C++ library, so that a pod starts
// within milliseconds. Pure functions.
#ifndef FAIRLEAD_TESTS_APPS_SOCKETS_H_
#define FAIRLEAD_TESTS_APPS_SOCKETS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>

namespace fairlead::apps {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
};

// "10.0.0.1:80", "[fd00::1]:80"; a mapped IPv4 address is written as IPv4.
inline std::string ToString(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
  if (address.storage.ss_family != AF_INET6) return "?";
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  const std::string port = std::to_string(ntohs(v6->sin6_port));
  if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
    inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, text, sizeof(text));
    return std::string(text) + ":" + port;
  }
  inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
  return "[" + std::string(text) + "]:" + port;
}

// The reverse, and "ADDRESS" alone with port 0. Numeric only.
inline std::optional<SocketAddress> ParseSocketAddress(std::string text) {
  long port = 0;
  std::string host = text;
  if (!text.empty() && text[0] == '[') {
    const size_t end = text.find(']');
    if (end == std::string::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    if (end + 1 < text.size()) {
      if (text[end + 1] != ':') return std::nullopt;
      port = strtol(text.c_str() + end + 2, nullptr, 10);
    }
  } else if (text.find(':') == text.rfind(':') &&
             text.find(':') != std::string::npos) {
    const size_t colon = text.find(':');
    host = text.substr(0, colon);
    port = strtol(text.c_str() + colon + 1, nullptr, 10);
  }
  if (port < 0 || port > 65535) return std::nullopt;
  SocketAddress result;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    result.size = sizeof(*v4);
    return result;
  }
  if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    result.size = sizeof(*v6);
    return result;
  }
  return std::nullopt;
}

inline bool WriteAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n =
        send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

inline std::string JsonQuote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace fairlead::apps

#endif  // FAIRLEAD_TESTS_APPS_SOCKETS_H_
