// SPDX-License-Identifier: Apache-2.0
// Ends a program at a chosen moment between two of its writes to the kernel:
// crash_at_write.cc is a library that is preloaded into it, and counts each
// bpf(2) that changes something, each change of a pin, and each store into a
// map's mapped memory. Shared between the test and the program: a file of
// this, named by FAIRLEAD_CRASH_CONTROL.
#ifndef FAIRLEAD_TESTS_NETNS_CRASH_AT_WRITE_H_
#define FAIRLEAD_TESTS_NETNS_CRASH_AT_WRITE_H_

#include <atomic>
#include <cstdint>

namespace fairlead::harness {

struct CrashControl {
  std::atomic<uint32_t> armed;   // 1: writes are counted
  std::atomic<uint32_t> at;      // SIGKILL in place of this write; 0: of none
  std::atomic<uint32_t> writes;  // so far
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_CRASH_AT_WRITE_H_
