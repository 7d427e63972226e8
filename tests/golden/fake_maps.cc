// SPDX-License-Identifier: Apache-2.0
#include "tests/golden/fake_maps.h"

#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_join.h"
#include "bpf/abi/filter.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::reconcile {
namespace {

uint32_t BitOf(const L4Address& address) {
  const fl_addr addr = ToAbi(address.address);
  return fl_filter_bit(&addr, htons(address.port),
                       static_cast<uint8_t>(address.protocol));
}

L4Address AddressOf(const fl_backend& backend) {
  return {FromAbi(backend.addr), ntohs(backend.port),
          static_cast<Protocol>(backend.proto)};
}

bool TestBit(const std::vector<uint64_t>& words, uint32_t bit) {
  return words[bit / 64] >> (bit % 64) & 1;
}

std::pair<uint32_t, std::string> RangeName(const fl_source_range_key& key) {
  return {ntohl(key.service_id), ToString(key)};
}

// Both selections of a service: {name, verdict, range}.
struct SideView {
  const char* name;
  uint32_t verdict;
  fl_selection range;
};
std::vector<SideView> Sides(const fl_service& s) {
  auto verdict = [&s](uint32_t shift) {
    return (s.flags >> shift) & FL_SERVICE_VERDICT_MASK;
  };
  return {{"internal", verdict(FL_SERVICE_INTERNAL_VERDICT_SHIFT), s.internal},
          {"external", verdict(FL_SERVICE_EXTERNAL_VERDICT_SHIFT),
           s.external}};
}

std::string SideText(const MapSet& maps,
                     const std::map<uint32_t, fl_backend>& backends,
                     const SideView& side) {
  if (side.verdict == FL_VERDICT_REJECT) return "reject";
  if (side.verdict == FL_VERDICT_DROP) return "drop";
  std::vector<uint32_t> ids(side.range.count);
  if (absl::Status s = maps.ReadSlots(side.range.base, absl::MakeSpan(ids));
      !s.ok()) {
    return std::string(s.message());
  }
  std::vector<std::string> names;
  for (uint32_t id : ids) {
    auto it = backends.find(id);
    std::string name = it == backends.end()
                           ? StrCat("?", id)
                           : AddressOf(it->second).ToString();
    if (it != backends.end() && it->second.state != FL_BACKEND_ON) {
      name += it->second.state == FL_BACKEND_DRAIN ? "(drain)" : "(off)";
    }
    names.push_back(std::move(name));
  }
  return StrCat("[", absl::StrJoin(names, " "), "]");
}

// After the selections, which are named by what is in them.
std::string FlagsText(const fl_service& service) {
  std::string text = ToString(service);
  return text.substr(text.find(" masq="));
}

}  // namespace

FakeMaps::FakeMaps(Capacity capacity)
    : capacity_(capacity),
      slots_(capacity.slots),
      backends_(capacity.backends),
      frontend_bits_(FL_FILTER_WORDS),
      backend_bits_(FL_FILTER_WORDS) {}

absl::Status FakeMaps::ForEachService(
    absl::FunctionRef<void(const fl_service_key&, const fl_service&)> fn)
    const {
  for (const auto& [address, value] : services_) {
    fn(ToServiceKey(address), value);
  }
  return absl::OkStatus();
}

absl::Status FakeMaps::ReadSlots(uint32_t base,
                                 absl::Span<uint32_t> out) const {
  if (uint64_t{base} + out.size() > slots_.size()) {
    return absl::OutOfRangeError("slots");
  }
  std::copy_n(slots_.begin() + base, out.size(), out.begin());
  return absl::OkStatus();
}

absl::Status FakeMaps::ForEachBackend(
    absl::FunctionRef<void(uint32_t, const fl_backend&)> fn) const {
  for (uint32_t id = 0; id < backends_.size(); ++id) {
    if (backends_[id].generation != 0) fn(id, backends_[id]);
  }
  return absl::OkStatus();
}

absl::Status FakeMaps::ForEachSourceRange(
    absl::FunctionRef<void(const fl_source_range_key&)> fn) const {
  for (const auto& [name, key] : ranges_) fn(key);
  return absl::OkStatus();
}

absl::Status FakeMaps::ForEachNodeAddress(
    absl::FunctionRef<void(const fl_addr&, const fl_node_addr&)> fn) const {
  for (const auto& [address, value] : node_addresses_) {
    fn(ToAbi(address), value);
  }
  return absl::OkStatus();
}

absl::Status FakeMaps::ReadFilter(Filter which,
                                  absl::Span<uint64_t> words) const {
  std::copy(filter(which).begin(), filter(which).end(), words.begin());
  return absl::OkStatus();
}

absl::Status FakeMaps::SetFilterBit(Filter which, uint32_t bit) {
  FL_RETURN_IF_ERROR(Faulty("SetFilterBit"));
  const_cast<std::vector<uint64_t>&>(filter(which))[bit / 64] |=
      uint64_t{1} << (bit % 64);
  return absl::OkStatus();
}

absl::Status FakeMaps::PutBackend(uint32_t id, const fl_backend& backend) {
  FL_RETURN_IF_ERROR(Faulty("PutBackend"));
  backends_[id] = backend;
  return absl::OkStatus();
}

absl::Status FakeMaps::SetBackendState(uint32_t id, uint8_t state) {
  FL_RETURN_IF_ERROR(Faulty("SetBackendState"));
  backends_[id].state = state;
  return absl::OkStatus();
}

absl::Status FakeMaps::PutSlots(uint32_t base,
                                absl::Span<const uint32_t> backend_ids) {
  FL_RETURN_IF_ERROR(Faulty("PutSlots"));
  if (uint64_t{base} + backend_ids.size() > slots_.size()) {
    return absl::OutOfRangeError("slots");
  }
  std::copy(backend_ids.begin(), backend_ids.end(), slots_.begin() + base);
  return absl::OkStatus();
}

absl::Status FakeMaps::PutService(const fl_service_key& key,
                                  const fl_service& value) {
  FL_RETURN_IF_ERROR(Faulty("PutService"));
  const L4Address address = FromServiceKey(key);
  if (!services_.contains(address) && services_.size() >= capacity_.services) {
    return absl::ResourceExhaustedError("fl_service is full");
  }
  services_[address] = value;
  return absl::OkStatus();
}

absl::Status FakeMaps::DeleteService(const fl_service_key& key) {
  FL_RETURN_IF_ERROR(Faulty("DeleteService"));
  services_.erase(FromServiceKey(key));
  return absl::OkStatus();
}

absl::Status FakeMaps::PutSourceRange(const fl_source_range_key& key) {
  FL_RETURN_IF_ERROR(Faulty("PutSourceRange"));
  ranges_[RangeName(key)] = key;
  return absl::OkStatus();
}

absl::Status FakeMaps::DeleteSourceRange(const fl_source_range_key& key) {
  FL_RETURN_IF_ERROR(Faulty("DeleteSourceRange"));
  ranges_.erase(RangeName(key));
  return absl::OkStatus();
}

absl::Status FakeMaps::PutNodeAddress(const fl_addr& address,
                                      const fl_node_addr& value) {
  FL_RETURN_IF_ERROR(Faulty("PutNodeAddress"));
  node_addresses_[FromAbi(address)] = value;
  return absl::OkStatus();
}

absl::Status FakeMaps::DeleteNodeAddress(const fl_addr& address) {
  FL_RETURN_IF_ERROR(Faulty("DeleteNodeAddress"));
  node_addresses_.erase(FromAbi(address));
  return absl::OkStatus();
}

const fl_service* FakeMaps::FindService(const L4Address& frontend) const {
  auto it = services_.find(frontend);
  return it == services_.end() ? nullptr : &it->second;
}

bool FakeMaps::filter_bit(Filter which, const L4Address& address) const {
  return TestBit(filter(which), BitOf(address));
}

std::vector<std::string> DumpMaps(const MapSet& maps, bool ids) {
  std::map<uint32_t, fl_backend> backends;
  std::vector<std::string> out;
  auto collect = [&](absl::Status status) {
    if (!status.ok()) out.push_back(std::string(status.message()));
  };
  collect(maps.ForEachBackend([&](uint32_t id, const fl_backend& backend) {
    if (backend.state == FL_BACKEND_FREE) return;
    backends[id] = backend;
    out.push_back(ids ? StrCat("backend ", id, " ", ToString(backend))
                      : StrCat("backend ", AddressOf(backend).ToString(), " ",
                               backend.state == FL_BACKEND_ON      ? "on"
                               : backend.state == FL_BACKEND_DRAIN ? "drain"
                                                                   : "off"));
  }));
  std::map<uint32_t, std::string> id_names;
  collect(maps.ForEachService([&](const fl_service_key& key,
                                  const fl_service& value) {
    std::string line = StrCat("service ", ToString(key));
    if (IsMark(key)) {
      out.push_back(line);
      return;
    }
    if (ids) StrAppend(&line, " id=", value.id);
    for (const SideView& side : Sides(value)) {
      StrAppend(&line, " ", side.name, "=", SideText(maps, backends, side));
    }
    out.push_back(line + FlagsText(value));
    std::string& name = id_names[value.id];
    if (name.empty() || ToString(key) < name) name = ToString(key);
  }));
  collect(maps.ForEachSourceRange([&](const fl_source_range_key& key) {
    const std::string text = ToString(key);
    out.push_back(ids ? StrCat("range ", text)
                      : StrCat("range ", id_names[ntohl(key.service_id)],
                               text.substr(text.find(' '))));
  }));
  collect(maps.ForEachNodeAddress(
      [&](const fl_addr& address, const fl_node_addr& value) {
        out.push_back(StrCat(
            "node ", FromAbi(address).ToString(),
            value.flags & FL_NODE_ADDR_NODE_PORT ? " node-port" : ""));
      }));
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> CheckReadable(const MapSet& maps) {
  std::vector<std::string> out;
  std::map<uint32_t, fl_backend> backends;
  std::vector<uint64_t> frontend_bits(FL_FILTER_WORDS);
  std::vector<uint64_t> backend_bits(FL_FILTER_WORDS);
  std::set<IpAddress> marked, needs_mark;
  auto check = [&out](bool ok, const std::string& text) {
    if (!ok) out.push_back(text);
  };
  check(maps.ReadFilter(Filter::kFrontends, absl::MakeSpan(frontend_bits)).ok(),
        "filter");
  check(maps.ReadFilter(Filter::kBackends, absl::MakeSpan(backend_bits)).ok(),
        "filter");
  check(maps.ForEachBackend([&](uint32_t id, const fl_backend& backend) {
          check(id != 0, "backend id 0 is used");
          if (backend.state == FL_BACKEND_FREE) return;
          backends[id] = backend;
          check(TestBit(backend_bits, BitOf(AddressOf(backend))),
                StrCat(ToString(backend), ": no filter bit"));
        }).ok(),
        "backends");
  check(maps.ForEachService([&](const fl_service_key& key,
                                const fl_service& value) {
          const std::string name = ToString(key);
          check(TestBit(frontend_bits,
                        fl_filter_bit(&key.addr, key.port, key.proto)),
                name + ": no filter bit");
          const IpAddress address = FromAbi(key.addr);
          if (IsMark(key)) {
            marked.insert(address);
            return;
          }
          if (!address.is_unspecified()) needs_mark.insert(address);
          check(value.id != 0, name + ": id 0");
          for (const SideView& side : Sides(value)) {
            if (side.verdict != FL_VERDICT_FORWARD) continue;
            check(side.range.count > 0, name + ": forwards to nothing");
            std::vector<uint32_t> ids(side.range.count);
            check(maps.ReadSlots(side.range.base, absl::MakeSpan(ids)).ok(),
                  name + ": slots");
            for (uint32_t id : ids) {
              check(backends.contains(id),
                    StrCat(name, ": slot with unwritten backend ", id));
            }
          }
        }).ok(),
        "services");
  for (const IpAddress& address : needs_mark) {
    check(marked.contains(address), address.ToString() + ": not marked");
  }
  return out;
}

}  // namespace fairlead::reconcile
