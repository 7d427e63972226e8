// SPDX-License-Identifier: Apache-2.0
// How an explanation is asked for, and how it reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "userspace/cli/explain_command.h"

namespace fairlead::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ParseExplainWordsTest, EachWayToSayIt) {
  const std::vector<std::vector<std::string>> ways = {
      {"tcp", "10.0.0.1:4000", "10.96.0.1:80"},
      {"tcp", "10.0.0.1:4000", "->", "10.96.0.1:80"},
      {"tcp", "10.0.0.1:4000", "to", "10.96.0.1:80"},
      {"tcp 10.0.0.1:4000 -> 10.96.0.1:80"}};
  for (const auto& words : ways) {
    auto request = ParseExplainWords(words);
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_EQ(request->protocol(), "tcp");
    EXPECT_EQ(request->client(), "10.0.0.1:4000");
    EXPECT_EQ(request->destination(), "10.96.0.1:80");
  }
}

TEST(ParseExplainWordsTest, WhatTheShellLeavesOfAnArrow) {
  auto request = ParseExplainWords({"tcp", "10.0.0.1", "-"});
  // Three words, but no destination: the agent says so; two are ours to say.
  EXPECT_TRUE(request.ok());
  request = ParseExplainWords({"tcp", "10.0.0.1"});
  EXPECT_THAT(std::string(request.status().message()),
              HasSubstr("redirection"));
}

TEST(ExplainTextTest, SaysOnlyWhatIsKnown) {
  admin::v1::ExplainReply reply;
  reply.mutable_packet_path()->set_verdict("passed");
  reply.mutable_packet_path()->set_reason("no frontend");
  admin::v1::ExplainedCounter* counter =
      reply.mutable_packet_path()->add_counters();
  counter->set_hook("ingress");
  counter->set_name("not_ours");
  std::string text = ExplainText(reply);
  EXPECT_THAT(text, HasSubstr("Packet path   passed: no frontend; counts "
                              "ingress not_ours\n"));
  EXPECT_THAT(text, HasSubstr("none: no Service has this address"));
  for (const char* absent : {"Goes to", "Endpoints", "Socket path", "Policy",
                             "  or", "In the way"}) {
    EXPECT_THAT(text, Not(HasSubstr(absent)));
  }
  reply.set_chosen("10.0.0.2:80");
  reply.set_chosen_by("live flow");
  reply.mutable_flow()->set_state("established");
  reply.mutable_flow()->set_idle_seconds(61);
  EXPECT_THAT(ExplainText(reply),
              HasSubstr("10.0.0.2:80, by live flow (established, idle "));
}

TEST(ExplainTextTest, EachPathHasItsVerdict) {
  admin::v1::ExplainReply reply;
  reply.mutable_packet_path()->set_verdict("dropped");
  reply.mutable_packet_path()->set_reason("another flow has this tuple");
  reply.add_packet_path_else()->set_verdict("forwarded");
  reply.mutable_socket_path()->set_decision("translated");
  reply.mutable_socket_path()->set_verdict("forwarded");
  reply.mutable_socket_path()->set_reason("at connect()");
  admin::v1::ExplainedEndpoint* endpoint = reply.add_endpoints();
  endpoint->set_address("10.0.0.2:80");
  endpoint->set_obstacle("another flow has this tuple: a -> b");
  std::string text = ExplainText(reply);
  EXPECT_THAT(text, HasSubstr("Socket path   forwarded: translated, at "
                              "connect()"));
  EXPECT_THAT(text, HasSubstr("Packet path   dropped: another flow"));
  EXPECT_THAT(text, HasSubstr("\n  or          forwarded: "));
  EXPECT_THAT(text, HasSubstr("In the way\n"));
  reply.mutable_socket_path()->set_decision("declined");
  reply.mutable_socket_path()->set_verdict("dropped");
  EXPECT_THAT(ExplainText(reply),
              HasSubstr("Socket path   dropped: left to the packet path, "));
}

}  // namespace
}  // namespace fairlead::cli
