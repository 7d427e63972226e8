// SPDX-License-Identifier: Apache-2.0
// Starts a program that a test runs beside itself.
//
// Threads: the test's main one: the program is killed when the thread that
// started it ends. The child is the caller's to reap.
#ifndef FAIRLEAD_TESTS_HARNESS_SPAWN_H_
#define FAIRLEAD_TESTS_HARNESS_SPAWN_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace fairlead::harness {

// words[0]: a path, or a name that is looked up. What it writes, to either
// stream, goes to the end of `log`. `netns`: a namespace's descriptor (-1:
// where we are). Ends with 127 when it can't be started so.
[[nodiscard]] pid_t Spawn(std::vector<std::string> words,
                          const std::string& log, int netns = -1);

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_HARNESS_SPAWN_H_
