// SPDX-License-Identifier: Apache-2.0
// What the agent is made with, for --version: who hears of a fault in a library
// can see whether it is theirs. Pure.
#ifndef FAIRLEAD_USERSPACE_AGENT_LIBRARY_VERSIONS_H_
#define FAIRLEAD_USERSPACE_AGENT_LIBRARY_VERSIONS_H_

#include <string>

namespace fairlead::agent {

// "libbpf 1.1.2", a line each. Those that can be asked (OpenSSL, gRPC) say what
// is loaded; the others what was compiled against.
std::string LibraryVersions();

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_LIBRARY_VERSIONS_H_
