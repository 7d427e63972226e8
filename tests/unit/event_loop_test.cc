// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/event_loop.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace fairlead {
namespace {

TEST(EventLoopTest, RunsPostsInOrderFromAnyThread) {
  EventLoop loop;
  std::string order;
  std::thread poster([&] {
    loop.Post([&] { order += 'a'; });
    loop.Post([&] { order += 'b'; });
    loop.Post([&] { loop.Stop(); });
  });
  loop.Run();
  poster.join();
  EXPECT_EQ(order, "ab");
  EXPECT_GE(loop.stats().callbacks, 3u);
}

TEST(EventLoopTest, FiresTimersInTheOrderOfTheirDelay) {
  EventLoop loop;
  std::string order;
  Timer late = loop.After(absl::Milliseconds(20), [&] {
    order += 'l';
    loop.Stop();
  });
  Timer early = loop.After(absl::Milliseconds(1), [&] { order += 'e'; });
  EXPECT_TRUE(late.pending());
  loop.Run();
  EXPECT_EQ(order, "el");
  EXPECT_FALSE(early.pending());
}

TEST(EventLoopTest, ACancelledTimerNeverFires) {
  EventLoop loop;
  bool fired = false;
  Timer cancelled = loop.After(absl::Milliseconds(1), [&] { fired = true; });
  Timer stop = loop.After(absl::Milliseconds(20), [&] { loop.Stop(); });
  cancelled.Cancel();
  loop.Run();
  EXPECT_FALSE(fired);
}

TEST(EventLoopTest, ACallbackMayDestroyItsOwnTimer) {
  EventLoop loop;
  Timer own;
  own = loop.After(absl::Milliseconds(1), [&] {
    own.Cancel();
    loop.Stop();
  });
  loop.Run();
  EXPECT_FALSE(own.pending());
}

}  // namespace
}  // namespace fairlead
