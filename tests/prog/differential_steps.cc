// SPDX-License-Identifier: Apache-2.0
// Steps of an episode that are no packets of known flows: sockets of this
// node, and endpoints that are unhealthy for a while.
#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "bpf/abi/types.h"
#include "tests/prog/differential.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::differential {
namespace {

using reference::Health;
using reference::SocketRuling;
using Kind = reference::SocketRuling::Kind;

constexpr int kCallsOfStep = 12;
constexpr size_t kTalks = 12;
// More in a row may not be stepped over (reference::State::health).
constexpr size_t kUnhealthyOfStep = 7;

constexpr const char* kKindNames[] = {"pass", "translate", "refuse",
                                      "decline"};

uint32_t CounterOf(Kind kind) {
  switch (kind) {
    case Kind::kTranslate:
      return FL_COUNTER_SOCKET_TRANSLATED;
    case Kind::kRefuse:
      return FL_COUNTER_SOCKET_REFUSED;
    case Kind::kDecline:
      return FL_COUNTER_SOCKET_DECLINED;
    default:
      return FL_COUNTER_NOT_OURS;
  }
}

// What comes of a call that isn't touched.
std::string UntouchedMismatch(const SocketCall& call,
                              const SocketOutcome& outcome) {
  const L4Address meant = reference::AsSocket(call.to);
  if (SocketBed::IsServed(call.to)) {
    if (outcome.reached == meant && outcome.shown == meant) return "";
    return "who got it";
  }
  if (outcome.reached.port != 0) return "that somebody got it";
  if (!SocketBed::IsLocal(call.to.address)) {
    return outcome.error == ENETUNREACH ? "" : "error";
  }
  const bool tcp = call.to.protocol == Protocol::kTcp;
  return outcome.error == (tcp ? ECONNREFUSED : 0) ? "" : "error";
}

// Empty if that is what has come of it.
std::string SocketMismatch(const SocketCall& call, const SocketRuling& ruling,
                           const SocketOutcome& outcome) {
  if (outcome.counted != std::vector<uint32_t>{CounterOf(ruling.kind)}) {
    return "counted";
  }
  if (ruling.kind == Kind::kRefuse) {
    return outcome.error == ECONNREFUSED ? "" : "error";
  }
  if (ruling.kind != Kind::kTranslate) return UntouchedMismatch(call, outcome);
  if (outcome.error != 0) return "error";
  if (!ruling.endpoints.contains(outcome.reached)) return "who got it";
  if (outcome.shown != reference::AsSocket(call.to)) {
    return "whom the client sees";
  }
  if (!call.connected && outcome.again != outcome.reached) {
    return "who got the second datagram";
  }
  return "";
}

// What a call was to be, and in what it differs.
std::string Instead(const SocketRuling& ruling, const SocketOutcome& outcome,
                    const std::string& why) {
  std::string line =
      StrCat("\n  expected ", kKindNames[static_cast<int>(ruling.kind)]);
  for (const L4Address& endpoint : ruling.endpoints) {
    StrAppend(&line, " ", endpoint.ToString());
  }
  StrAppend(&line, "; differs in ", why, "; counted");
  for (uint32_t id : outcome.counted) StrAppend(&line, " ", id);
  return line;
}

}  // namespace

absl::StatusOr<std::string> Episode::Call(const SocketCall& call) {
  const SocketRuling ruling = flows_.Socket(call.host, call.to);
  UniqueFd fd;
  FL_ASSIGN_OR_RETURN(const SocketOutcome outcome, world_->Try(call, &fd));
  ++tally_->calls;
  ++tally_->drawn[StrCat("socket ", kKindNames[static_cast<int>(ruling.kind)])];
  if (call.to.address.is_unspecified()) {
    ++tally_->drawn[StrCat("unspecified ",
                           kKindNames[static_cast<int>(ruling.kind)])];
  }
  const bool translated = ruling.kind == Kind::kTranslate;
  if (call.to.protocol == Protocol::kUdp && (translated || !call.connected)) {
    if (talks_.size() == kTalks) talks_.erase(talks_.begin());
    talks_.push_back(
        {call, std::move(fd), {call.host, call.connected, call.to}});
    if (translated) {
      talks_.back().exchange.port = ruling.port;
      talks_.back().exchange.endpoint = outcome.reached;
    }
  }
  const std::string line =
      StrCat(call.ToString(), " : error ", outcome.error, " reached ",
             outcome.reached.ToString(), " shown ", outcome.shown.ToString());
  trace_.push_back(line);
  const std::string why = SocketMismatch(call, ruling, outcome);
  if (why.empty()) {
    if (ruling.kind == Kind::kTranslate) {
      flows_.SocketTook(call.host, ruling, outcome.reached);
    }
    return std::string();
  }
  return StrCat(line, Instead(ruling, outcome, why));
}

absl::StatusOr<std::string> Episode::Datagram(size_t number) {
  Talk& talk = talks_[number];
  const SocketCall& call = talk.call;
  reference::Exchange& exchange = talk.exchange;
  const SocketRuling ruling = flows_.Next(exchange);
  const Kind anew = flows_.Socket(exchange.host, exchange.to).kind;
  FL_ASSIGN_OR_RETURN(SocketOutcome outcome,
                      world_->Again(call, talk.fd.get()));
  ++tally_->calls;
  const std::string line = StrCat("again ", call.ToString(), " : error ",
                            outcome.error, " reached ",
                            outcome.reached.ToString(), " shown ",
                            outcome.shown.ToString());
  trace_.push_back(line);
  const bool translated = ruling.kind == Kind::kTranslate;
  const bool goes_on = exchange.endpoint && translated &&
                       ruling.endpoints.contains(*exchange.endpoint) &&
                       outcome.reached == *exchange.endpoint;
  std::string why;
  if (call.connected && !goes_on) {
    // Its endpoint is off: what is chosen in its place can't answer it.
    if (outcome.counted != std::vector<uint32_t>{CounterOf(ruling.kind)}) {
      why = "counted";
    }
  } else {
    outcome.again = outcome.reached;
    why = SocketMismatch(call, ruling, outcome);
  }
  if (why.empty()) {
    tally_->drawn["exchange goes on"] += goes_on;
    tally_->drawn["exchange goes on, new ones don't"] +=
        goes_on && anew != Kind::kTranslate;
    tally_->drawn["exchange begins anew"] += translated && !goes_on;
    if (translated) flows_.SocketTook(call.host, ruling, outcome.reached);
    if (translated && !call.connected) {
      exchange.port = ruling.port;
      exchange.endpoint = outcome.reached;
    }
    if (call.connected && !goes_on) {
      talks_.erase(talks_.begin() + static_cast<ptrdiff_t>(number));
    }
    return std::string();
  }
  return StrCat(line, Instead(ruling, outcome, why));
}

absl::StatusOr<std::string> Episode::AnyCall(Draw* draw) {
  if (talks_.empty() || draw->Chance(50)) return Call(draw->Call(state_));
  return Datagram(draw->Below(static_cast<uint32_t>(talks_.size())));
}

absl::StatusOr<std::string> Episode::Sockets(Draw* draw) {
  std::string difference;
  for (int i = 0; i < kCallsOfStep && difference.empty(); ++i) {
    FL_ASSIGN_OR_RETURN(difference, AnyCall(draw));
  }
  return difference;
}

absl::StatusOr<bool> Episode::Worsen(const L4Address& endpoint,
                                     Health health) {
  const bool off = health == Health::kOff;
  FL_ASSIGN_OR_RETURN(
      const bool done,
      world_->Worsen(endpoint, off ? FL_BACKEND_OFF : FL_BACKEND_DRAIN));
  if (!done) return false;
  trace_.push_back(StrCat(endpoint.ToString(), off ? " off" : " drains"));
  state_.health[endpoint] = health;
  return true;
}

absl::Status Episode::Recover() {
  trace_.push_back("all recover");
  state_.health.clear();
  return world_->Recover();
}

// Some endpoints are worse than the tables say: what a health check stores, and
// the reconciler, before all that follows from a change.
absl::StatusOr<std::string> Episode::Unhealthy(Draw* draw) {
  std::vector<L4Address> all;
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    for (const reference::ServicePortId& port : state_.PortsOf(family)) {
      for (const reference::Candidate& c : state_.CandidatesOf(port)) {
        all.push_back(c.address);
      }
    }
  }
  if (all.empty()) return std::string();
  for (uint32_t n = 1 + draw->Below(kUnhealthyOfStep); n > 0; --n) {
    const Health health = draw->Chance(60) ? Health::kOff : Health::kDrain;
    FL_ASSIGN_OR_RETURN(const bool done, Worsen(draw->Of(all), health));
    tally_->drawn["unhealthy"] += done;
  }
  std::string difference;
  for (uint32_t n = 4 + draw->Below(8); n > 0 && difference.empty(); --n) {
    const uint32_t what = draw->Below(10);
    if (what < 4) {
      FL_ASSIGN_OR_RETURN(difference, OfKnownFlow(draw, /*answer=*/false));
    } else if (what < 9) {
      FL_ASSIGN_OR_RETURN(difference, Travel(draw->Packet(state_)));
    } else {
      FL_ASSIGN_OR_RETURN(difference, AnyCall(draw));
    }
  }
  FL_RETURN_IF_ERROR(draw->Chance(20) ? Restart() : Recover());
  return difference;
}

// What a run must have met, or it proves little.
void Episode::CountRare(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  auto& drawn = tally_->drawn;
  for (const Extension& e : wire.extensions) ++drawn[StrCat("ext ", e.type)];
  if (p.shape == reference::Packet::Shape::kIcmpError) {
    ++drawn[StrCat("error ", p.dst.address.is_v4() ? 4 : 6, "/",
                   wire.icmp_type)];
    if (wire.quoted >= 0) ++drawn["short quote"];
  }
  if (p.shape == reference::Packet::Shape::kIcmpErrorCut) ++drawn["cut quote"];
  if (p.shape == reference::Packet::Shape::kIcmpErrorOther) {
    ++drawn["stray error"];
  }
  if (p.src.port == 80 || p.src.port == 53) ++drawn["from a service port"];
  if (p.src.port >= kNodePortMin && p.src.port <= kNodePortMax) {
    ++drawn["from a NodePort"];
  }
  if (p.src.port >= state_.node.source_port_min &&
      p.src.port <= state_.node.source_port_max) {
    ++drawn["from a source port"];
  }
  const bool default_address =
      std::any_of(state_.node.masquerade.begin(), state_.node.masquerade.end(),
                  [](const IpAddress& ip) {
                    return ip.ToString() == "203.0.113.7";
                  });
  drawn["packet to the unspecified address"] += p.dst.address.is_unspecified();
  drawn["another masquerade address"] += !default_address;
  drawn["no IPv6 address"] += state_.node.masquerade.size() == 1;
}

}  // namespace fairlead::differential
