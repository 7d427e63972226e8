// SPDX-License-Identifier: Apache-2.0
// Clients of services, very many at once: each asks one frontend once, and
// what came of it is kept.
//
// Threads: one.
#ifndef FAIRLEAD_TESTS_NETNS_PROBES_H_
#define FAIRLEAD_TESTS_NETNS_PROBES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/netns/topology.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

// What the client saw.
struct Outcome {
  enum class Kind {
    kPending,
    kAnswered,
    kRefused,  // ECONNREFUSED
    kSilent,   // nothing at all in the time given
    kFailed,   // anything else; `note` says what
  };
  Kind kind = Kind::kPending;
  std::string who;     // the endpoint's name
  std::string source;  // the client's address as the endpoint saw it
  std::string note;
  absl::Duration took;
};

// One connection, or one datagram and its answer.
struct Attempt {
  L4Address to;
  // UDP: connect() and send(), or sendto().
  bool connected = true;
  // No answer for this long is silence.
  absl::Duration patience = absl::Seconds(5);
  // The client's port; 0: the kernel's choice.
  Port source_port = 0;
};

class Probes {
 public:
  Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  // Begins one; the result is its number. The socket belongs to the cgroup
  // that this process is in.
  size_t Start(const Station& client, const Attempt& attempt);
  // Takes note of what has come of them up to now, or within `wait`.
  void Turn(absl::Duration wait = absl::ZeroDuration());
  // Waits until all that were begun have an outcome.
  void Finish();
  const Outcome& outcome(size_t number) const { return probes_[number].outcome; }

 private:
  struct Probe {
    UniqueFd fd;
    Attempt attempt;
    Outcome outcome;
    absl::Time started;
  };

  void Begin(Probe* probe);
  void Progress(Probe* probe);
  void ReadAnswer(Probe* probe);
  void End(Probe* probe, Outcome::Kind kind, const std::string& note = "");
  void Fail(Probe* probe, int error);

  UniqueFd epoll_;
  std::vector<Probe> probes_;
  size_t pending_ = 0;
};

// A client port that no other probe or Conversation of this process has had
// lately: two flows from one port to one endpoint by two frontends are a case of
// their own (docs/semantics.md). From any thread.
Port NextSourcePort();

// One at a time, for what needs no crowd.
Outcome Ask(const Station& client, const Attempt& attempt);
// How often each endpoint answered; what was no answer under "refused",
// "silent" or "failed: ...". Each has a source port of its own.
std::map<std::string, int> AskMany(const Station& client,
                                   const Attempt& attempt, int times);

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_PROBES_H_
