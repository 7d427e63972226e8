// SPDX-License-Identifier: Apache-2.0
// Tables of what a test program has covered, for people: in
// coverage/PROGRAM.txt of the build folder, which scripts/count_tests.py prints
// at the end of a run.
#ifndef FAIRLEAD_TESTS_NETNS_COVERAGE_H_
#define FAIRLEAD_TESTS_NETNS_COVERAGE_H_

#include <string>

namespace fairlead::harness {

// Adds to the file, and prints. The first text of a process begins it anew; a
// file that can't be written is a test's failure.
void WriteCoverage(const std::string& text);

// Filled up with blanks.
std::string Padded(std::string text, size_t width);

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_COVERAGE_H_
