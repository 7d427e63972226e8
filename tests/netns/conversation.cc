// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/conversation.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <thread>

#include "tests/netns/probes.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr timeval kLimit = {5, 0};

// What stands at a place of a transfer: no period that a lost or doubled
// packet could fit.
std::string Pattern(size_t offset, size_t size) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; ++i) {
    const uint64_t word = (offset + i) / 8 * 0x9e3779b97f4a7c15;
    text[i] = static_cast<char>(word >> ((offset + i) % 8 * 8));
  }
  return text;
}

// The kernel would choose one that a probe has just had, through another
// frontend: see NextSourcePort().
absl::Status TakeOwnPort(int fd, const L4Address& to) {
  SocketAddress own;
  if (getsockname(fd, own.get(), own.size_pointer()) != 0) {
    return ErrnoStatus(errno, "getsockname", to.ToString());
  }
  if (own.port() != 0) return absl::OkStatus();  // it has one
  const int yes = 1;  // the other family's ports are others
  if (!to.address.is_v4()) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  }
  constexpr int kTries = 1000;  // a connection that lasts may have it
  for (int i = 0; i < kTries; ++i) {
    SocketAddress at({IpAddress::Unspecified(to.address.family()),
                            NextSourcePort(), to.protocol});
    if (bind(fd, at.get(), at.size()) == 0) return absl::OkStatus();
  }
  return ErrnoStatus(errno, "bind", to.ToString());
}

}  // namespace

absl::StatusOr<Conversation> Conversation::Open(
    const Station& client, const L4Address& to,
    const std::function<void(int)>& prepare) {
  Conversation result;
  result.protocol_ = to.protocol;
  const bool tcp = to.protocol == Protocol::kTcp;
  FL_RETURN_IF_ERROR(client.netns.Run([&]() -> absl::Status {
    result.fd_.reset(
        socket(to.address.is_v4() ? AF_INET : AF_INET6,
               (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
    setsockopt(result.fd(), SOL_SOCKET, SO_SNDTIMEO, &kLimit, sizeof kLimit);
    setsockopt(result.fd(), SOL_SOCKET, SO_RCVTIMEO, &kLimit, sizeof kLimit);
    if (prepare) prepare(result.fd());
    FL_RETURN_IF_ERROR(TakeOwnPort(result.fd(), to));
    SocketAddress address(to);
    if (connect(result.fd(), address.get(), address.size()) != 0) {
      return ErrnoStatus(errno, "connect", to.ToString());
    }
    return absl::OkStatus();
  }));
  if (!tcp) {
    FL_RETURN_IF_ERROR(result.Say("hello"));
    return result;
  }
  std::string rest;
  FL_RETURN_IF_ERROR(result.ReadGreeting(&rest));
  return result;
}

absl::Status Conversation::ReadMore(std::string* text) {
  std::array<char, 65536> buffer;
  const ssize_t size = recv(fd(), buffer.data(), buffer.size(), 0);
  if (size < 0) return ErrnoStatus(errno, "receive", who_);
  if (size == 0) return absl::UnavailableError("closed by " + who_);
  text->append(buffer.data(), static_cast<size_t>(size));
  return absl::OkStatus();
}

absl::Status Conversation::ReadGreeting(std::string* rest) {
  std::string text;
  while (text.find('\n') == text.npos) FL_RETURN_IF_ERROR(ReadMore(&text));
  who_ = text.substr(0, text.find(' '));
  *rest = text.substr(text.find('\n') + 1);
  return absl::OkStatus();
}

absl::Status Conversation::Say(const std::string& text) {
  if (send(fd(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
    return ErrnoStatus(errno, "send", who_);
  }
  std::string answer;
  if (protocol_ == Protocol::kUdp) {
    FL_RETURN_IF_ERROR(ReadGreeting(&answer));
  }
  while (answer.size() < text.size()) {
    FL_RETURN_IF_ERROR(ReadMore(&answer));
  }
  if (answer == text) return absl::OkStatus();
  return absl::DataLossError(StrCat("sent ", text.size(), " bytes, other ",
                                    answer.size(), " came back"));
}

absl::Status Conversation::Exchange(size_t bytes) {
  constexpr size_t kChunk = 65536;
  absl::Status sent;
  std::thread sender([&] {
    for (size_t at = 0; at < bytes && sent.ok(); at += kChunk) {
      const std::string text = Pattern(at, std::min(kChunk, bytes - at));
      if (send(fd(), text.data(), text.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(text.size())) {
        sent = ErrnoStatus(errno, "send", who_);
      }
    }
  });
  absl::Status read;
  size_t at = 0;
  while (at < bytes && read.ok()) {
    std::string text;
    read = ReadMore(&text);
    if (text != Pattern(at, text.size())) {
      read = absl::DataLossError(StrCat("other bytes after ", at));
    }
    at += text.size();
  }
  if (!read.ok()) shutdown(fd(), SHUT_RDWR);
  sender.join();
  sent.Update(read);
  return WithContext(sent, StrCat("after ", at, " of ", bytes, " bytes"));
}

}  // namespace fairlead::harness
