// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/nf_tables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cerrno>
#include <utility>

#include "userspace/base/status.h"

namespace fairlead::netlink {
namespace {

constexpr char kHolderChain[] = "hold";
// NF_IP_PRI_NAT_DST; any nat chain holds all of the nat hooks.
constexpr int kPriority = -100;

uint8_t NfFamily(IpFamily family) {
  return family == IpFamily::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

Message Request(uint8_t type, uint16_t flags, IpFamily family) {
  return NfnetlinkSocket::Request(NFNL_SUBSYS_NFTABLES, type, flags,
                                  NfFamily(family));
}

Message Batch(uint16_t type) {
  nfgenmsg header = {};
  header.nfgen_family = AF_UNSPEC;
  header.version = NFNETLINK_V0;
  header.res_id = htons(NFNL_SUBSYS_NFTABLES);
  return Message(type, 0, header);
}

void AddU32(Message* message, uint16_t type, uint32_t value) {
  message->AddU32(type, htonl(value));
}

Message NewTable(IpFamily family, const std::string& table) {
  Message message = Request(NFT_MSG_NEWTABLE, NLM_F_ACK | NLM_F_CREATE, family);
  message.AddText(NFTA_TABLE_NAME, table);
  return message;
}

Message NewNatChain(IpFamily family, const std::string& table) {
  Message message = Request(NFT_MSG_NEWCHAIN, NLM_F_ACK | NLM_F_CREATE, family);
  message.AddText(NFTA_CHAIN_TABLE, table);
  message.AddText(NFTA_CHAIN_NAME, kHolderChain);
  const size_t hook = message.Begin(NFTA_CHAIN_HOOK);
  AddU32(&message, NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
  AddU32(&message, NFTA_HOOK_PRIORITY, static_cast<uint32_t>(kPriority));
  message.End(hook);
  message.AddText(NFTA_CHAIN_TYPE, "nat");
  return message;
}

// "ct state", with no verdict: what looks at conntrack keeps it on.
Message NewCtRule(IpFamily family, const std::string& table) {
  Message message = Request(NFT_MSG_NEWRULE,
                            NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, family);
  message.AddText(NFTA_RULE_TABLE, table);
  message.AddText(NFTA_RULE_CHAIN, kHolderChain);
  const size_t list = message.Begin(NFTA_RULE_EXPRESSIONS);
  const size_t element = message.Begin(NFTA_LIST_ELEM);
  message.AddText(NFTA_EXPR_NAME, "ct");
  const size_t data = message.Begin(NFTA_EXPR_DATA);
  AddU32(&message, NFTA_CT_DREG, NFT_REG_1);
  AddU32(&message, NFTA_CT_KEY, NFT_CT_STATE);
  message.End(data);
  message.End(element);
  message.End(list);
  return message;
}

}  // namespace

absl::StatusOr<NfTables> NfTables::Open() {
  FL_ASSIGN_OR_RETURN(NfnetlinkSocket socket, NfnetlinkSocket::Open());
  return NfTables(std::move(socket));
}

absl::StatusOr<bool> NfTables::Has(Message request, const std::string& name) {
  std::vector<Message> messages;
  messages.push_back(std::move(request));
  FL_ASSIGN_OR_RETURN(
      int error,
      socket_.Ask(std::move(messages), [](uint8_t, std::string_view) {}));
  if (error == 0) return true;
  // EINVAL, EOPNOTSUPP: the subsystem isn't loaded.
  if (error == ENOENT || error == EINVAL || error == EOPNOTSUPP) return false;
  return ErrnoStatus(error, "find table", name);
}

absl::StatusOr<bool> NfTables::HasTable(IpFamily family,
                                        const std::string& table) {
  Message message = Request(NFT_MSG_GETTABLE, NLM_F_ACK, family);
  message.AddText(NFTA_TABLE_NAME, table);
  return Has(std::move(message), table);
}

absl::StatusOr<bool> NfTables::HasChain(IpFamily family,
                                        const std::string& table,
                                        const std::string& chain) {
  Message message = Request(NFT_MSG_GETCHAIN, NLM_F_ACK, family);
  message.AddText(NFTA_CHAIN_TABLE, table);
  message.AddText(NFTA_CHAIN_NAME, chain);
  return Has(std::move(message), table);
}

absl::StatusOr<int> NfTables::Change(std::vector<Message> messages) {
  std::vector<Message> batch;
  batch.push_back(Batch(NFNL_MSG_BATCH_BEGIN));
  for (Message& message : messages) batch.push_back(std::move(message));
  batch.push_back(Batch(NFNL_MSG_BATCH_END));
  return socket_.Ask(std::move(batch), [](uint8_t, std::string_view) {});
}

absl::Status NfTables::AddNatHolder(IpFamily family,
                                    const std::string& table) {
  FL_ASSIGN_OR_RETURN(bool there, HasTable(family, table));
  if (there) return absl::OkStatus();
  std::vector<Message> messages;
  messages.push_back(NewTable(family, table));
  messages.push_back(NewNatChain(family, table));
  messages.push_back(NewCtRule(family, table));
  FL_ASSIGN_OR_RETURN(int error, Change(std::move(messages)));
  return ErrnoStatus(error, "add table", table);
}

absl::Status NfTables::DeleteTable(IpFamily family, const std::string& table) {
  std::vector<Message> messages;
  messages.push_back(Request(NFT_MSG_DELTABLE, NLM_F_ACK, family));
  messages[0].AddText(NFTA_TABLE_NAME, table);
  FL_ASSIGN_OR_RETURN(int error, Change(std::move(messages)));
  if (error == ENOENT || error == EINVAL || error == EOPNOTSUPP) {
    return absl::OkStatus();
  }
  return ErrnoStatus(error, "delete table", table);
}

}  // namespace fairlead::netlink
