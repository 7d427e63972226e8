// SPDX-License-Identifier: Apache-2.0
#include "userspace/reconcile/plan.h"

#include <arpa/inet.h>

#include <cstring>

#include "absl/strings/str_join.h"
#include "userspace/base/strings.h"

namespace fairlead::reconcile {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

std::string_view FilterName(Filter filter) {
  return filter == Filter::kFrontends ? "frontends" : "backends";
}

std::string_view StateName(uint8_t state) {
  switch (state) {
    case FL_BACKEND_FREE:
      return "free";
    case FL_BACKEND_ON:
      return "on";
    case FL_BACKEND_DRAIN:
      return "drain";
    case FL_BACKEND_OFF:
      return "off";
  }
  return "?";
}

std::string SideText(const fl_service& service, uint32_t shift,
                     const fl_selection& range) {
  switch ((service.flags >> shift) & FL_SERVICE_VERDICT_MASK) {
    case FL_VERDICT_FORWARD:
      return StrCat("[", range.base, "+", range.count, "]");
    case FL_VERDICT_REJECT:
      return "reject";
    case FL_VERDICT_DROP:
      return "drop";
  }
  return "?";
}

std::string MasqueradeText(uint32_t flags) {
  std::vector<std::string> who;
  if (flags & FL_SERVICE_MASQ_POD) who.push_back("pod");
  if (flags & FL_SERVICE_MASQ_HOST) who.push_back("host");
  if (flags & FL_SERVICE_MASQ_OUTSIDE) who.push_back("outside");
  return who.empty() ? "-" : absl::StrJoin(who, ",");
}

std::string NodeAddressText(const fl_node_addr& value) {
  return StrCat(value.flags & FL_NODE_ADDR_LOCAL ? " local" : "",
                value.flags & FL_NODE_ADDR_NODE_PORT ? " node-port" : "");
}

}  // namespace

absl::Status Execute(const Operation& operation, MapSet* maps) {
  return std::visit(
      Overloaded{
          [&](const SetFilterBit& o) {
            return maps->SetFilterBit(o.filter, o.bit);
          },
          [&](const PutBackend& o) { return maps->PutBackend(o.id, o.value); },
          [&](const SetBackendState& o) {
            return maps->SetBackendState(o.id, o.state);
          },
          [&](const PutSlots& o) {
            return maps->PutSlots(o.base, o.backend_ids);
          },
          [&](const PutService& o) { return maps->PutService(o.key, o.value); },
          [&](const DeleteService& o) { return maps->DeleteService(o.key); },
          [&](const MarkAddress& o) {
            return maps->PutService(MarkKey(o.address), {});
          },
          [&](const UnmarkAddress& o) {
            return maps->DeleteService(MarkKey(o.address));
          },
          [&](const PutSourceRange& o) { return maps->PutSourceRange(o.key); },
          [&](const DeleteSourceRange& o) {
            return maps->DeleteSourceRange(o.key);
          },
          [&](const PutNodeAddress& o) {
            return maps->PutNodeAddress(o.address, o.value);
          },
          [&](const DeleteNodeAddress& o) {
            return maps->DeleteNodeAddress(o.address);
          },
      },
      operation);
}

std::string ToString(const Operation& operation) {
  return std::visit(
      Overloaded{
          [](const SetFilterBit& o) {
            return StrCat("SetFilterBit ", FilterName(o.filter), " ", o.bit);
          },
          [](const PutBackend& o) {
            return StrCat("PutBackend ", o.id, " ", ToString(o.value));
          },
          [](const SetBackendState& o) {
            return StrCat("SetBackendState ", o.id, " ", StateName(o.state));
          },
          [](const PutSlots& o) {
            return StrCat("PutSlots [", o.base, "+", o.backend_ids.size(),
                          "] ", absl::StrJoin(o.backend_ids, " "));
          },
          [](const PutService& o) {
            return StrCat("PutService ", ToString(o.key), " ",
                          ToString(o.value));
          },
          [](const MarkAddress& o) {
            return StrCat("MarkAddress ", o.address.ToString());
          },
          [](const UnmarkAddress& o) {
            return StrCat("UnmarkAddress ", o.address.ToString());
          },
          [](const DeleteService& o) {
            return StrCat("DeleteService ", ToString(o.key));
          },
          [](const PutSourceRange& o) {
            return StrCat("PutSourceRange ", ToString(o.key));
          },
          [](const DeleteSourceRange& o) {
            return StrCat("DeleteSourceRange ", ToString(o.key));
          },
          [](const PutNodeAddress& o) {
            return StrCat("PutNodeAddress ", FromAbi(o.address).ToString(),
                          NodeAddressText(o.value));
          },
          [](const DeleteNodeAddress& o) {
            return StrCat("DeleteNodeAddress ", FromAbi(o.address).ToString());
          },
      },
      operation);
}

std::string ToString(const fl_service& s) {
  std::string out = StrCat(
      "id=", s.id, " internal=",
      SideText(s, FL_SERVICE_INTERNAL_VERDICT_SHIFT, s.internal),
      " external=",
      SideText(s, FL_SERVICE_EXTERNAL_VERDICT_SHIFT, s.external),
      " masq=", MasqueradeText(s.flags));
  if (s.flags & FL_SERVICE_NODE_PORT) out += " node-port";
  if (s.flags & FL_SERVICE_SOURCE_RANGES) out += " source-ranges";
  if (s.affinity_seconds) StrAppend(&out, " affinity=", s.affinity_seconds);
  return out;
}

std::string ToString(const fl_backend& backend) {
  const L4Address address{FromAbi(backend.addr), ntohs(backend.port),
                          static_cast<Protocol>(backend.proto)};
  return StrCat(address.ToString(), " gen=", backend.generation, " ",
                StateName(backend.state));
}

fl_service_key MarkKey(const IpAddress& address) {
  fl_service_key key = {};
  key.addr = ToAbi(address);
  return key;
}

bool IsMark(const fl_service_key& key) {
  return key.port == 0 && key.proto == 0;
}

std::string ToString(const fl_service_key& key) {
  if (IsMark(key)) return StrCat(FromAbi(key.addr).ToString(), " (marked)");
  const L4Address frontend = FromServiceKey(key);
  if (!frontend.address.is_unspecified()) return frontend.ToString();
  return StrCat(frontend.address.is_v4() ? "*4:" : "*6:", frontend.port, "/",
                ProtocolName(frontend.protocol));
}

std::string ToString(const fl_source_range_key& key) {
  const IpAddress address = FromAbi(key.prefix);
  const uint32_t bits = key.prefix_bits - 32 - (address.is_v4() ? 96 : 0);
  return StrCat("id=", ntohl(key.service_id), " ", address.ToString(), "/",
                bits);
}

fl_addr ToAbi(const IpAddress& address) {
  fl_addr out;
  static_assert(sizeof(out) == sizeof(IpAddress::Bytes));
  std::memcpy(&out, address.bytes().data(), sizeof(out));
  return out;
}

IpAddress FromAbi(const fl_addr& address) {
  IpAddress::Bytes bytes;
  std::memcpy(bytes.data(), &address, sizeof(bytes));
  return IpAddress(bytes);
}

fl_service_key ToServiceKey(const L4Address& frontend) {
  return {.addr = ToAbi(frontend.address),
          .port = htons(frontend.port),
          .proto = static_cast<uint8_t>(frontend.protocol),
          .pad = 0};
}

L4Address FromServiceKey(const fl_service_key& key) {
  return {FromAbi(key.addr), ntohs(key.port), static_cast<Protocol>(key.proto)};
}

}  // namespace fairlead::reconcile
