// SPDX-License-Identifier: Apache-2.0
// Tables of nf_tables, as far as another proxy's are to be found, held and
// removed. No rules are read: that is the tools' business.
//
// An object works in the network namespace of the thread that opened it, for
// its whole life, whichever thread uses it later (one at a time).
#ifndef FAIRLEAD_USERSPACE_NETLINK_NF_TABLES_H_
#define FAIRLEAD_USERSPACE_NETLINK_NF_TABLES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/netlink/nfnetlink.h"

namespace fairlead::netlink {

class NfTables {
 public:
  // In the calling thread's network namespace. Needs CAP_NET_ADMIN there.
  [[nodiscard]] static absl::StatusOr<NfTables> Open();

  // Of family `ip` or `ip6`. False, too, on a kernel without nf_tables.
  [[nodiscard]] absl::StatusOr<bool> HasTable(IpFamily family,
                                              const std::string& table);
  [[nodiscard]] absl::StatusOr<bool> HasChain(IpFamily family,
                                              const std::string& table,
                                              const std::string& chain);

  // A table with a chain at the nat hooks that does nothing. While it is there,
  // the namespace's connections are tracked and those that are translated go on
  // being so, whichever other rules come and go: the kernel stops both with the
  // last rules that need them. OK if it is there.
  [[nodiscard]] absl::Status AddNatHolder(IpFamily family,
                                          const std::string& table);

  // With all that is in it. OK if there is none.
  [[nodiscard]] absl::Status DeleteTable(IpFamily family,
                                         const std::string& table);

 private:
  explicit NfTables(NfnetlinkSocket socket) : socket_(std::move(socket)) {}
  absl::StatusOr<bool> Has(Message request, const std::string& name);
  // All or nothing.
  absl::StatusOr<int> Change(std::vector<Message> messages);
  NfnetlinkSocket socket_;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_NF_TABLES_H_
