// SPDX-License-Identifier: Apache-2.0
// Packets that aren't one frame each: bulk transfers with offloads, a hop with
// a smaller MTU, fragments; and datagrams without a checksum.
#include <gmock/gmock.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "tests/netns/service_test_base.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr size_t kBytes = 4 << 20;

class Transfer : public ServiceTest {
 protected:
  // A connection by this way to the only endpoint, and `bytes` both ways.
  static absl::Status Run(const From& from, int number, Way way,
                          IpFamily family, size_t bytes) {
    auto opened =
        OpenFrom(from, FrontendOf(number, way, family, Protocol::kTcp));
    FL_RETURN_IF_ERROR(opened.status());
    return opened->Exchange(bytes);
  }

  static void ForgetPathMtus() {
    for (const char* name :
         {"outside", "node1", "node2", "router", "a", "l1", "r1"}) {
      ASSERT_OK(bed_->net()
                    .at(name)
                    .netns.Command("ip route flush cache; "
                                   "ip -6 route flush cache")
                    .status());
    }
  }

  // outside -> NodePort -> `endpoint`, with a narrow hop towards `narrow`.
  static void ThroughANarrowHop(const std::string& narrow,
                                const std::string& endpoint, int mtu,
                                bool error_is_translated) {
    ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {endpoint}}}));
    ASSERT_OK(bed_->net().LimitPath(narrow, mtu));
    for (IpFamily family : kFamilies) {
      ForgetPathMtus();
      const double before = bed_->Counter("icmp_translated");
      EXPECT_OK(Run({"outside", false}, 1, Way::kNodePort, family, kBytes))
          << narrow << " " << IpFamilyName(family);
      if (error_is_translated) {
        EXPECT_GT(bed_->Counter("icmp_translated"), before)
            << narrow << " " << IpFamilyName(family);
      }
    }
    ASSERT_OK(bed_->net().LimitPath(narrow, 1500));
    ForgetPathMtus();
  }
};

TEST_F(Transfer, TheHopBeforeTheClientIsNarrow) {
  // The router's error is about the endpoint's translated packets.
  for (int mtu : {1280, 1400}) {
    ThroughANarrowHop("outside", "l1", mtu, true);
    ThroughANarrowHop("outside", "r1", mtu, true);
  }
}

TEST_F(Transfer, TheHopBeforeTheNodeIsNarrow) {
  // The error goes to the client, about its own packets: nothing to do.
  ThroughANarrowHop("node1", "l1", 1280, false);
}

TEST_F(Transfer, TheHopBeforeTheEndpointIsNarrow) {
  // The error is about the client's packets, source and destination
  // translated.
  for (int mtu : {1280, 1400}) ThroughANarrowHop("r1", "r1", mtu, true);
}

// Has veth's GRO switched on, so that packets are merged on their way too.
void SwitchOnGro(const Station& station, const std::string& device) {
  ASSERT_OK(station.netns.Run([&]() -> absl::Status {
    UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ethtool_value value = {ETHTOOL_SGRO, 1};
    ifreq request = {};
    std::strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (ioctl(fd.get(), SIOCETHTOOL, &request) != 0) {
      return ErrnoStatus(errno, "ethtool", device);
    }
    return absl::OkStatus();
  }));
}

TEST_F(Transfer, BulkWithOffloads) {
  for (const char* device : {"eth0", "pod-a", "pod-l1"}) {
    SwitchOnGro(bed_->net().node(), device);
  }
  ASSERT_OK(bed_->Apply({{.number = 2, .endpoints = {"l1"}},
                         {.number = 3, .endpoints = {"r1"}}}));
  constexpr size_t kBulk = 16 << 20;
  for (const From& from : kFroms) {
    for (IpFamily family : kFamilies) {
      for (int number : {2, 3}) {
        const double before = bed_->Counter("forward_hit");
        EXPECT_OK(Run(from, number, Way::kNodePort, family, kBulk))
            << from.ToString();
        // Far fewer packets than frames of 1,500 bytes: they were large ones.
        EXPECT_LT(bed_->Counter("forward_hit") - before, kBulk / 1500 / 2)
            << from.ToString();
      }
    }
  }
}

TEST_F(Transfer, Fragments) {
  ASSERT_OK(bed_->Apply({{.number = 4, .endpoints = {"l1"}},
                         {.number = 5, .endpoints = {"r1"}},
                         {.number = 6, .endpoints = {"node1"}}}));
  for (const From& from : kFroms) {
    for (int number : {4, 5, 6}) {
      for (IpFamily family : kFamilies) {
        for (Way way : kWays) {
          const L4Address to = FrontendOf(number, way, family, Protocol::kUdp);
          auto opened = OpenFrom(from, to);
          ASSERT_TRUE(opened.ok()) << from.ToString() << opened.status();
          for (size_t size : {1473, 4000, 4001, 20000}) {
            EXPECT_OK(opened->Say(std::string(size, 'f')))
                << from.ToString() << " -> " << to.ToString() << ", " << size;
          }
        }
      }
    }
  }
}

TEST_F(Transfer, DatagramsWithoutAChecksum) {
  ASSERT_OK(bed_->Apply({{.number = 7, .endpoints = {"l1"}},
                         {.number = 8, .endpoints = {"r1"}}}));
  auto no_checksum = [](int fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &yes, sizeof yes);
  };
  for (const From& from : kFroms) {
    for (int number : {7, 8}) {
      for (Way way : kWays) {
        const L4Address to =
            FrontendOf(number, way, IpFamily::kIpv4, Protocol::kUdp);
        auto opened = OpenFrom(from, to, no_checksum);
        EXPECT_TRUE(opened.ok())
            << from.ToString() << " -> " << to.ToString() << opened.status();
      }
    }
  }
}

}  // namespace
}  // namespace fairlead::harness
