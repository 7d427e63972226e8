// SPDX-License-Identifier: Apache-2.0
// Random objects and packets, out of small pools so that they meet each
// other: the same VIP for two Services, one endpoint behind two, a client that
// is an endpoint, a port that is used again.
//
// Reproducible: all comes from the seed. Threads: one at a time.
#ifndef FAIRLEAD_TESTS_PROG_DIFFERENTIAL_DRAW_H_
#define FAIRLEAD_TESTS_PROG_DIFFERENTIAL_DRAW_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/prog/differential_frame.h"
#include "tests/prog/differential_socket.h"
#include "tests/reference/state.h"
#include "userspace/kube/objects.h"

namespace fairlead::differential {

inline constexpr int kServices = 6;
inline constexpr int kSlicesOfService = 4;  // two a family

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  uint32_t Below(uint32_t limit) {
    return static_cast<uint32_t>(random_() % limit);
  }
  bool Chance(uint32_t percent) { return Below(100) < percent; }
  template <typename T>
  const T& Of(const std::vector<T>& all) {
    return all[Below(static_cast<uint32_t>(all.size()))];
  }

  kube::Service Service(int number);
  // Slice `part` of a Service: parts 0 and 1 are IPv4, 2 and 3 IPv6.
  kube::EndpointSlice Slice(int service, int part);
  // One endpoint more, fewer or different.
  void ChangeEndpoints(kube::EndpointSlice* slice);
  void ChangeNode(reference::Node* node);

  // Somebody's packet, most often a flow's first and to a frontend.
  Wire Packet(const reference::State& state);
  // Somebody's connect() or datagram on this node.
  SocketCall Call(const reference::State& state);
  // Flags of a packet in the middle of a connection.
  void LaterFlags(reference::Packet* packet);
  // Sizes, options, checksums; nothing that changes what becomes of it.
  void Variety(Wire* wire);
  // Which ICMP error, and how much it quotes of what.
  void ErrorVariety(Wire* wire);
  // A tag or two, or no link header where a frame without can be run.
  void ChooseLink(Wire* wire);
  // Something that makes it hostile.
  void Harm(Wire* wire);

 private:
  kube::Endpoint Endpoint(IpFamily family);
  Port ClientPort(Protocol protocol);
  std::vector<Extension> Extensions(size_t count);
  L4Address Destination(const reference::State& state, Protocol protocol,
                        IpFamily family);

  std::mt19937_64 random_;
};

}  // namespace fairlead::differential

#endif  // FAIRLEAD_TESTS_PROG_DIFFERENTIAL_DRAW_H_
