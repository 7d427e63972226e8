// SPDX-License-Identifier: Apache-2.0
// What becomes of any packet, given the flows before it: packets of known
// flows, answers, strangers, fragments.
//
// A node's choice between endpoints or source ports is its own, so an answer
// is a list of alternatives: whoever compares says with Took() which one it
// saw, and later packets of the flow are then exact.
//
// Threads: one at a time. `state` outlives this.
#ifndef FAIRLEAD_TESTS_REFERENCE_FLOWS_H_
#define FAIRLEAD_TESTS_REFERENCE_FLOWS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/reference/policy.h"
#include "tests/reference/state.h"

namespace fairlead::reference {

struct Packet {
  enum class Shape {
    kWhole,
    kFirstFragment,
    kLaterFragment,  // without ports
    kCut,            // ends before its ports do
    kMalformed,      // has ports, but its lengths contradict each other
    kOther,          // neither TCP nor UDP nor SCTP
    kNotIp,          // nor IP of any version that is known
    // An ICMP error; src and dst are those of an answer to the packet that it
    // is about.
    kIcmpError,
    // One from src to dst that can't be told what it is about: its quote ends
    // before the ports, or is of nothing that has ports, or of a packet that
    // whom it goes to hasn't sent.
    kIcmpErrorCut,
    kIcmpErrorOther,
  };
  L4Address src;
  L4Address dst;
  bool syn = false, ack = false, fin = false, rst = false;
  Shape shape = Shape::kWhole;
  uint32_t fragment_id = 0;
  bool extended = false;  // has IPv6 extension headers; changes nothing

  bool IsTcp() const { return src.protocol == Protocol::kTcp; }
  bool IsSctp() const { return src.protocol == Protocol::kSctp; }
  // With a beginning and an end. SCTP's chunks have the flags that do the same:
  // an INIT is a SYN, an ABORT a RST, a SHUTDOWN a FIN.
  bool IsConnection() const { return IsTcp() || IsSctp(); }
  // Can it be the first of a flow?
  bool IsInitial() const { return !IsConnection() || (syn && !ack && !rst); }
};

struct Flow {
  L4Address client;
  L4Address frontend;
  L4Address endpoint;
  ServicePortId port;
  bool masquerade = false;
  // Of a masqueraded one: the address since it was opened, port 0 until it is
  // seen.
  L4Address source;
  int64_t client_seen = 0;    // seconds
  int64_t endpoint_seen = 0;
  bool client_fin = false, client_rst = false;
  bool endpoint_fin = false, endpoint_rst = false;
  bool answered = false;
  // Of a masqueraded one: an answer has come in to its source, and has not
  // gone out yet.
  bool answer_on_its_way = false;
  // Another flow has its source port: it is over.
  bool overtaken = false;
  // It was silent for so long that it may have made place, entry by entry.
  bool doubtful = false;
  // Its endpoint was away for a while: UDP, from its own service port; TCP,
  // from all of them.
  bool stale = false;
};

struct Alternative {
  enum class Kind {
    kPass,     // untouched
    kForward,  // the destination becomes `to`
    kReply,    // at ingress the destination, at egress the source, is `to`
    kSource,   // at egress: the source becomes `to`
    kReject,   // answered
    kDrop,
  };
  Kind kind = Kind::kPass;
  Reason reason = Reason::kNone;
  L4Address to;           // port 0: any of the node's source ports
  bool masquerade = false;  // kForward: the source is to be translated, too
  bool opens = false;       // kForward: a new flow
  bool removes = false;     // kPass: `flow` is over by this
  uint32_t affinity_seconds = 0;
  // Another endpoint may have been chosen, and remembered, before this one.
  bool affinity_unsure = false;
  ServicePortId port;
  std::shared_ptr<Flow> flow;  // kForward, kReply, kSource: unless it opens

  std::string ToString() const;
};
using Alternatives = std::vector<Alternative>;

// The datagrams that one socket of this node sends to one address.
struct Exchange {
  bool host = false;
  bool connected = false;
  L4Address to;
  ServicePortId port;
  std::optional<L4Address> endpoint;  // that it was translated to
};

class Flows {
 public:
  explicit Flows(const State* state) : state_(state) {}

  // Time passes.
  void Advance(int64_t seconds);
  // Call after each change of the state, before the next packet.
  void StateChanged();

  // A packet that has come in.
  Alternatives Ingress(const Packet& packet) const;
  // A packet that goes out. `marked`: it came in, and was to be masqueraded.
  // `flow`: that it came in as a packet of, or null. `own`: it is this host's,
  // and did not come in.
  Alternatives Egress(const Packet& packet, bool marked,
                      const std::shared_ptr<Flow>& flow, bool own) const;

  // A connect() or sendto(). Of kTranslate, one of `endpoints`.
  SocketRuling Socket(bool host, const L4Address& to) const;
  void SocketTook(bool host, const SocketRuling& ruling,
                  const L4Address& endpoint);
  // What becomes of one's next datagram.
  SocketRuling Next(const Exchange& exchange) const;
  // After a change: is what its endpoint was chosen for still so (section 10)?
  bool MayGoOn(const Exchange& exchange) const;

  // What was seen. Returns the flow of the packet, if any.
  std::shared_ptr<Flow> IngressTook(const Packet& packet,
                                    const Alternative& alternative);
  // `source`: what the packet has as its source now.
  void EgressTook(const Packet& packet, const Alternative& alternative,
                  const L4Address& source);

  // Is it, towards the same endpoint, surely another living flow's?
  bool IsSourceInUse(const L4Address& source, const Flow& flow) const;
  // By when they were opened.
  const std::vector<std::shared_ptr<Flow>>& all() const { return flows_; }

 private:
  using FlowPointer = std::shared_ptr<Flow>;
  struct Affinity {
    L4Address endpoint;
    int64_t used = 0;
  };
  using AffinityKey = std::pair<ServicePortId, IpAddress>;
  // {egress?, source, destination, protocol, id}
  using FragmentKey =
      std::tuple<bool, IpAddress, IpAddress, Protocol, uint32_t>;
  struct Fragment {
    Alternative as;
    int64_t seen = 0;
  };

  FlowPointer FindForward(const L4Address& client,
                          const L4Address& frontend) const;
  FlowPointer FindMasqueraded(const L4Address& endpoint,
                              const L4Address& source) const;
  Alternatives EgressReply(const Packet& packet,
                           const FlowPointer& flow) const;
  Alternatives EgressOwn(const Packet& packet) const;
  Alternatives IngressError(const Packet& packet) const;
  Alternatives EgressError(const Packet& packet,
                           const FlowPointer& as) const;
  FlowPointer FindReply(const L4Address& endpoint,
                        const L4Address& client) const;
  bool IsOver(const Flow& flow) const;
  int64_t Silence(const Flow& flow) const;
  // Silent for so long that its place may be taken: surely, or perhaps.
  bool IsDead(const Flow& flow) const;
  bool MayBeDead(const Flow& flow) const;
  bool TakesNewFlows(const L4Address& endpoint) const;
  bool ServesAny(const L4Address& endpoint) const;
  bool IsServed(const Flow& flow) const;
  bool IsKept(L4Address frontend, const L4Address& endpoint) const;
  Alternatives Continue(const Packet& packet, const FlowPointer& flow) const;
  Alternatives Start(const Packet& packet, const Flow* instead_of) const;
  void AddEndpoint(const Packet& packet, const Ruling& ruling,
                   const L4Address& endpoint, const Flow* instead_of,
                   Alternatives* out) const;
  Alternatives WithoutPorts(const Packet& packet, bool egress) const;
  void Remove(const FlowPointer& flow);
  void AddRemains(const Packet& packet, Alternatives* out) const;
  void MakePlace(const Packet& packet);
  FlowPointer Open(const Packet& packet, const Alternative& alternative);
  void NoteFragment(const Packet& packet, bool egress,
                    const Alternative& alternative);
  static FragmentKey FragmentKeyOf(const Packet& packet, bool egress);
  std::set<L4Address> Healthy(const std::set<L4Address>& endpoints) const;
  // Where affinity sends the client, if it still may.
  std::optional<L4Address> Remembered(const ServicePortId& port,
                                      const IpAddress& client,
                                      uint32_t seconds,
                                      const std::set<L4Address>& among) const;

  const State* state_;
  int64_t now_ = 1'000'000;
  std::vector<FlowPointer> flows_;
  // Flows that are over, of which something may be left: a source port that
  // nobody has needed since still leads to the old client.
  std::vector<FlowPointer> remains_;
  std::map<AffinityKey, Affinity> affinity_;
  std::map<FragmentKey, Fragment> fragments_;
};

}  // namespace fairlead::reference

#endif  // FAIRLEAD_TESTS_REFERENCE_FLOWS_H_
