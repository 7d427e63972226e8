// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/probes.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

// This thread's network namespace is `station`'s while this lives.
class Inside {
 public:
  explicit Inside(const Station& station)
      : home_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    setns(station.netns.fd(), CLONE_NEWNET);
  }
  ~Inside() { setns(home_.get(), CLONE_NEWNET); }

 private:
  UniqueFd home_;
};

bool IsTcp(const Attempt& attempt) {
  return attempt.to.protocol == Protocol::kTcp;
}

// A refusal of a datagram that was not sent on a connected socket is only
// told to those who ask.
void WantErrors(int fd, bool v4) {
  const int yes = 1;
  if (v4) {
    setsockopt(fd, IPPROTO_IP, IP_RECVERR, &yes, sizeof yes);
  } else {
    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &yes, sizeof yes);
  }
}

bool BindPort(int fd, const Attempt& attempt) {
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (!attempt.to.address.is_v4()) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  }
  SocketAddress from(
      L4Address{IpAddress::Unspecified(attempt.to.address.family()),
                attempt.source_port, attempt.to.protocol});
  return bind(fd, from.get(), from.size()) == 0;
}

int TakeError(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace

Probes::Probes() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

size_t Probes::Start(const Station& client, const Attempt& attempt) {
  const size_t number = probes_.size();
  Probe& probe = probes_.emplace_back();
  probe.attempt = attempt;
  probe.started = absl::Now();
  ++pending_;
  const bool v4 = attempt.to.address.is_v4();
  {
    Inside inside(client);
    probe.fd.reset(socket(
        v4 ? AF_INET : AF_INET6,
        (IsTcp(attempt) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC |
            SOCK_NONBLOCK,
        0));
  }
  if (!probe.fd.valid()) {
    Fail(&probe, errno);
    return number;
  }
  if (!IsTcp(attempt)) WantErrors(probe.fd.get(), v4);
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = number;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, probe.fd.get(), &event);
  Begin(&probe);
  return number;
}

void Probes::Begin(Probe* probe) {
  const Attempt& attempt = probe->attempt;
  const int fd = probe->fd.get();
  if (attempt.source_port != 0 && !BindPort(fd, attempt)) {
    return Fail(probe, errno);
  }
  SocketAddress to(attempt.to);
  if (IsTcp(attempt) || attempt.connected) {
    if (connect(fd, to.get(), to.size()) != 0 && errno != EINPROGRESS) {
      return Fail(probe, errno);
    }
    if (IsTcp(attempt)) return;
    if (send(fd, "?", 1, MSG_NOSIGNAL) < 0) Fail(probe, errno);
    return;
  }
  if (sendto(fd, "?", 1, MSG_NOSIGNAL, to.get(), to.size()) < 0) {
    Fail(probe, errno);
  }
}

void Probes::Finish() {
  while (pending_ > 0) Turn(absl::Milliseconds(10));
}

void Probes::Turn(absl::Duration wait) {
  std::array<epoll_event, 64> events;
  const int count =
      epoll_wait(epoll_.get(), events.data(), events.size(),
                 static_cast<int>(absl::ToInt64Milliseconds(wait)));
  for (int i = 0; i < count; ++i) Progress(&probes_[events[i].data.u64]);
  // Silence is only known when everything that came has been read.
  if (count == static_cast<int>(events.size())) return Turn();
  const absl::Time now = absl::Now();
  for (Probe& probe : probes_) {
    if (probe.outcome.kind == Outcome::Kind::kPending &&
        now - probe.started > probe.attempt.patience) {
      End(&probe, Outcome::Kind::kSilent);
    }
  }
}

void Probes::Progress(Probe* probe) {
  if (probe->outcome.kind != Outcome::Kind::kPending) return;
  const int error = TakeError(probe->fd.get());
  if (error != 0) return Fail(probe, error);
  ReadAnswer(probe);
}

// The answer must come from the address that was asked.
void Probes::ReadAnswer(Probe* probe) {
  char text[512];
  SocketAddress from;
  const ssize_t size = recvfrom(probe->fd.get(), text, sizeof text, 0,
                                from.get(), from.size_pointer());
  if (size < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
  if (size <= 0) return Fail(probe, size < 0 ? errno : EPIPE);
  const std::string answer(text, static_cast<size_t>(size));
  const size_t space = answer.find(' ');
  const size_t end = answer.find('\n');
  if (space == answer.npos || end == answer.npos || end < space) {
    return End(probe, Outcome::Kind::kFailed, "no answer but: " + answer);
  }
  probe->outcome.who = answer.substr(0, space);
  probe->outcome.source = answer.substr(space + 1, end - space - 1);
  if (IsTcp(probe->attempt)) {
    from = SocketAddress();
    getpeername(probe->fd.get(), from.get(), from.size_pointer());
  }
  if (from.address() != probe->attempt.to.address ||
      from.port() != probe->attempt.to.port) {
    return End(probe, Outcome::Kind::kFailed,
               StrCat("the answer names ", from.address().ToString(), ":",
                      from.port()));
  }
  End(probe, Outcome::Kind::kAnswered);
}

void Probes::End(Probe* probe, Outcome::Kind kind, const std::string& note) {
  if (probe->outcome.kind != Outcome::Kind::kPending) return;
  probe->outcome.kind = kind;
  probe->outcome.note = note;
  probe->outcome.took = absl::Now() - probe->started;
  probe->fd.reset();
  --pending_;
}

void Probes::Fail(Probe* probe, int error) {
  // Dropped on its way out of the host. Only a socket that asks for errors, as
  // ours do, is told; it stays without an answer in any case.
  if (error == ENOBUFS) return;
  End(probe,
      error == ECONNREFUSED ? Outcome::Kind::kRefused : Outcome::Kind::kFailed,
      strerrorname_np(error) ? strerrorname_np(error) : "?");
}

Port NextSourcePort() {
  constexpr unsigned kFirst = 40000;
  constexpr unsigned kLast = 65535;
  static std::atomic<unsigned> next = 0;
  return static_cast<Port>(kFirst + next++ % (kLast - kFirst + 1));
}

Outcome Ask(const Station& client, const Attempt& attempt) {
  Probes probes;
  probes.Start(client, attempt);
  probes.Finish();
  return probes.outcome(0);
}

std::map<std::string, int> AskMany(const Station& client,
                                   const Attempt& attempt, int times) {
  Probes probes;
  for (int i = 0; i < times; ++i) {
    Attempt one = attempt;
    one.source_port = NextSourcePort();
    probes.Start(client, one);
  }
  probes.Finish();
  std::map<std::string, int> result;
  for (int i = 0; i < times; ++i) {
    const Outcome& outcome = probes.outcome(i);
    switch (outcome.kind) {
      case Outcome::Kind::kAnswered:
        ++result[outcome.who];
        break;
      case Outcome::Kind::kRefused:
        ++result["refused"];
        break;
      case Outcome::Kind::kSilent:
        ++result["silent"];
        break;
      default:
        ++result["failed: " + outcome.note];
    }
  }
  return result;
}

}  // namespace fairlead::harness
