// SPDX-License-Identifier: Apache-2.0
// netlink against the real kernel, in namespaces of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/harness/scopes.h"
#include "tests/harness/sockets.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/netlink/conntrack.h"
#include "userspace/netlink/links.h"
#include "userspace/netlink/netlink_socket.h"
#include "userspace/netlink/nf_tables.h"

namespace fairlead::netlink {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }
IpPrefix Prefix(std::string_view text) { return *IpPrefix::Parse(text); }

class NetlinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto make = [](std::optional<harness::NetnsScope>* scope) {
      auto created = harness::NetnsScope::Create();
      ASSERT_TRUE(created.ok()) << created.status();
      scope->emplace(*std::move(created));
    };
    make(&a_);
    make(&b_);
    socket_a_ = Open(*a_);
    socket_b_ = Open(*b_);
  }

  static std::optional<NetlinkSocket> Open(const harness::NetnsScope& netns) {
    std::optional<NetlinkSocket> socket;
    absl::Status status = netns.Run([&]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(NetlinkSocket opened, NetlinkSocket::Open());
      socket.emplace(std::move(opened));
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return socket;
  }

  static std::string Show(const harness::NetnsScope& netns,
                          const std::string& what) {
    auto output = netns.Command("ip " + what);
    return output.ok() ? *output : output.status().ToString();
  }

  std::optional<harness::NetnsScope> a_, b_;
  std::optional<NetlinkSocket> socket_a_, socket_b_;
};

#define ASSERT_OK(expr)                           \
  do {                                            \
    absl::Status status_under_test = (expr);      \
    ASSERT_TRUE(status_under_test.ok()) << status_under_test; \
  } while (false)

TEST_F(NetlinkTest, AVethPairWithRoutes) {
  ASSERT_OK(socket_a_->CreateVeth("left", "eth0", b_->fd()));
  for (auto* socket : {&*socket_a_, &*socket_b_}) {
    const char* name = socket == &*socket_a_ ? "left" : "eth0";
    ASSERT_OK(socket->SetMtu(name, 1400));
    ASSERT_OK(socket->SetUp(name));
  }
  ASSERT_OK(socket_a_->AddAddress("left", Ip("10.9.0.1"), 32));
  ASSERT_OK(socket_a_->AddAddress("left", Ip("10.9.0.1"), 32));  // again
  ASSERT_OK(socket_a_->AddAddress("left", Ip("fd09::1"), 128));
  ASSERT_OK(socket_b_->AddAddress("eth0", Ip("10.9.1.2"), 32));
  ASSERT_OK(socket_b_->AddAddress("eth0", Ip("fd09::2"), 128));
  Route to_pod{Prefix("10.9.1.2/32"), "left", {}, false, Ip("10.9.0.1")};
  ASSERT_OK(socket_a_->AddRoute(to_pod));
  ASSERT_OK(socket_a_->AddRoute(to_pod));
  ASSERT_OK(socket_a_->AddRoute({Prefix("fd09::2/128"), "left"}));
  ASSERT_OK(socket_b_->AddRoute(
      {Prefix("0.0.0.0/0"), "eth0", Ip("10.9.0.1"), /*gateway_onlink=*/true}));
  ASSERT_OK(socket_b_->AddRoute({Prefix("::/0"), "eth0"}));
  EXPECT_THAT(Show(*a_, "route"), HasSubstr("10.9.1.2 dev left proto static "
                                            "scope link src 10.9.0.1"));
  EXPECT_THAT(Show(*b_, "route"), HasSubstr("default via 10.9.0.1 dev eth0"));
  EXPECT_THAT(Show(*b_, "-6 route"), HasSubstr("default dev eth0"));
  EXPECT_THAT(Show(*a_, "link show left"), HasSubstr("mtu 1400"));
  ASSERT_OK(socket_a_->DeleteRoute(to_pod));
  ASSERT_OK(socket_a_->DeleteRoute(to_pod));
  EXPECT_THAT(Show(*a_, "route"), Not(HasSubstr("10.9.1.2")));
  ASSERT_OK(socket_a_->DeleteLink("left"));
  ASSERT_OK(socket_a_->DeleteLink("left"));
  EXPECT_THAT(Show(*b_, "link"), Not(HasSubstr("eth0")));
}

TEST_F(NetlinkTest, ErrorsSayWhatAndWhere) {
  EXPECT_TRUE(absl::IsNotFound(socket_a_->SetUp("nothing")));
  EXPECT_TRUE(absl::IsInvalidArgument(
      socket_a_->CreateBridge("a-name-that-is-too-long")));
  ASSERT_OK(socket_a_->CreateBridge("br0"));
  absl::Status again = socket_a_->CreateBridge("br0");
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_THAT(std::string(again.message()), HasSubstr("br0"));
}

TEST_F(NetlinkTest, BridgePortsMoveAndLeave) {
  ASSERT_OK(socket_a_->CreateBridge("br0"));
  ASSERT_OK(socket_a_->CreateVeth("p0", "p1"));
  ASSERT_OK(socket_a_->SetMaster("p0", "br0"));
  ASSERT_OK(socket_a_->SetMac("p0", "02:00:00:00:00:07"));
  EXPECT_THAT(Show(*a_, "link show p0"), HasSubstr("master br0"));
  EXPECT_THAT(Show(*a_, "link show p0"), HasSubstr("02:00:00:00:00:07"));
  ASSERT_OK(socket_a_->SetMaster("p0", ""));
  ASSERT_OK(socket_a_->SetNetns("p1", b_->fd()));
  EXPECT_THAT(Show(*b_, "link"), HasSubstr("p1"));
}

TEST_F(NetlinkTest, LinksFollowDevicesAndAddresses) {
  ASSERT_OK(socket_a_->CreateBridge("old"));
  std::vector<std::string> log;
  auto wait_for = [&](EventLoop* loop, const std::string& line) {
    Timer late = loop->After(absl::Seconds(5), [&] {
      ADD_FAILURE() << "not seen: " << line;
      loop->Stop();
    });
    // The callbacks stop the loop after each line.
    while (std::find(log.begin(), log.end(), line) == log.end() &&
           late.pending()) {
      loop->Run();
    }
  };
  absl::Status status = a_->Run([&]() -> absl::Status {
    EventLoop loop;
    auto note = [&](std::string line) {
      log.push_back(std::move(line));
      loop.Stop();
    };
    LinksCallbacks callbacks;
    callbacks.on_link = [&](const Link& l) {
      note("+" + l.name + "/" + l.kind);
    };
    callbacks.on_link_removed = [&](const Link& l) { note("-" + l.name); };
    callbacks.on_address = [&](const LinkAddress& a) {
      note("+" + a.address.ToString());
    };
    callbacks.on_address_removed = [&](const LinkAddress& a) {
      note("-" + a.address.ToString());
    };
    Links links(&loop, callbacks);
    FL_RETURN_IF_ERROR(links.Start());
    EXPECT_THAT(log, testing::IsSupersetOf({"+lo/", "+old/bridge",
                                            "+127.0.0.1"}));
    FL_RETURN_IF_ERROR(socket_a_->CreateVeth("new", "peer"));
    wait_for(&loop, "+new/veth");
    FL_RETURN_IF_ERROR(socket_a_->AddAddress("new", Ip("192.0.2.1"), 24));
    wait_for(&loop, "+192.0.2.1");
    FL_RETURN_IF_ERROR(socket_a_->DeleteAddress("new", Ip("192.0.2.1"), 24));
    wait_for(&loop, "-192.0.2.1");
    FL_RETURN_IF_ERROR(socket_a_->DeleteLink("new"));
    wait_for(&loop, "-new");
    EXPECT_EQ(links.links().size(), 2u);
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
}

// More changes than the socket's queue holds: a listing makes up for it.
TEST_F(NetlinkTest, LostNotificationsAreMadeUpFor) {
  absl::Status status = a_->Run([&]() -> absl::Status {
    EventLoop loop;
    Links links(&loop, {});
    FL_RETURN_IF_ERROR(links.Start());
    for (int i = 0; i < 300; ++i) {
      FL_RETURN_IF_ERROR(socket_a_->CreateBridge(StrCat("d", i)));
      FL_RETURN_IF_ERROR(socket_a_->SetUp(StrCat("d", i)));
    }
    FL_RETURN_IF_ERROR(socket_a_->DeleteLink("d7"));
    bool done = false;
    Timer late = loop.After(absl::Seconds(10), [&] { loop.Stop(); });
    std::function<void()> look = [&] {
      done = links.links().size() == 300;  // lo and 299
      if (done) return loop.Stop();
      loop.Post(look);
    };
    loop.Post(look);
    loop.Run();
    EXPECT_TRUE(done) << links.links().size();
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
}

// ---- netfilter ----

template <typename T>
T OpenIn(const harness::NetnsScope& netns) {
  std::optional<T> opened;
  absl::Status status = netns.Run([&]() -> absl::Status {
    FL_ASSIGN_OR_RETURN(T socket, T::Open());
    opened.emplace(std::move(socket));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return *std::move(opened);
}

TEST_F(NetlinkTest, FindsHoldsAndDeletesTables) {
  NfTables tables = OpenIn<NfTables>(*a_);
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    const std::string ip = family == IpFamily::kIpv4 ? "ip" : "ip6";
    SCOPED_TRACE(ip);
    EXPECT_FALSE(*tables.HasTable(family, "held"));
    ASSERT_OK(tables.AddNatHolder(family, "held"));
    ASSERT_OK(tables.AddNatHolder(family, "held"));
    EXPECT_TRUE(*tables.HasTable(family, "held"));
    EXPECT_TRUE(*tables.HasChain(family, "held", "hold"));
    EXPECT_FALSE(*tables.HasChain(family, "held", "other"));
    auto text = a_->Command(StrCat("nft list table ", ip, " held"));
    ASSERT_OK(text.status());
    EXPECT_THAT(*text, HasSubstr("type nat hook prerouting"));
    ASSERT_OK(tables.DeleteTable(family, "held"));
    ASSERT_OK(tables.DeleteTable(family, "held"));
    EXPECT_FALSE(*tables.HasTable(family, "held"));
  }
}

TEST_F(NetlinkTest, ListsWhatNetfilterTranslates) {
  ASSERT_OK(a_->Command("ip link set lo up; ip addr add 192.0.2.1/32 dev lo; "
                        "ip addr add 2001:db8::1/128 dev lo nodad; "
                        "nft -f - <<'RULES'\n"
                        "table inet t {\n"
                        "  chain c {\n"
                        "    type nat hook output priority -100;\n"
                        "    ip daddr 192.0.2.1 udp dport 80 dnat ip to "
                        "127.0.0.1:8080\n"
                        "    ip6 daddr 2001:db8::1 udp dport 80 dnat ip6 to "
                        "[::1]:8080\n"
                        "  }\n"
                        "}\nRULES")
                .status());
  Conntrack conntrack = OpenIn<Conntrack>(*a_);
  EXPECT_THAT(*conntrack.Translated(), ::testing::IsEmpty());
  for (const char* text : {"192.0.2.1", "2001:db8::1"}) {
    SCOPED_TRACE(text);
    const L4Address frontend = {Ip(text), 80, Protocol::kUdp};
    const L4Address untouched = {Ip(text), 81, Protocol::kUdp};
    UniqueFd fd;
    ASSERT_OK(a_->Run([&]() -> absl::Status {
      fd = harness::OpenSocket(frontend, harness::SocketFamily::kNative);
      (void)harness::SendTo(fd.get(), frontend,
                            harness::SocketFamily::kNative, "x");
      (void)harness::SendTo(fd.get(), untouched,
                            harness::SocketFamily::kNative, "x");
      return absl::OkStatus();
    }));
    auto flows = conntrack.Translated();
    ASSERT_OK(flows.status());
    std::vector<TranslatedFlow> found;
    for (const TranslatedFlow& flow : *flows) {
      if (flow.frontend.address == frontend.address) found.push_back(flow);
    }
    ASSERT_EQ(found.size(), 1u);
    const bool v4 = frontend.address.is_v4();
    EXPECT_EQ(found[0].frontend, frontend);
    EXPECT_EQ(found[0].endpoint, (L4Address{Ip(v4 ? "127.0.0.1" : "::1"), 8080,
                                            Protocol::kUdp}));
    EXPECT_EQ(found[0].client.port, harness::LocalName(fd.get())->port);
    EXPECT_EQ(found[0].answers_to, found[0].client);
    EXPECT_FALSE(found[0].over);
  }
}

}  // namespace
}  // namespace fairlead::netlink
