// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/matrix.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/netns/coverage.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr absl::Duration kSilence = absl::Milliseconds(300);
constexpr absl::Duration kQuickly = absl::Milliseconds(500);
constexpr int kFirstNumber = 10;  // of services
constexpr int kOfEach = 4;         // cells: families x protocols
constexpr size_t kNameWidth = 34;

struct Expectation {
  Outcome::Kind kind = Outcome::Kind::kAnswered;
  std::set<std::string> endpoints;
  std::string source;  // "kept", "masq"
};

Expectation Parse(const std::string& text) {
  if (text == "DROP") return {Outcome::Kind::kSilent, {}, ""};
  if (text == "REJECT") return {Outcome::Kind::kRefused, {}, ""};
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  return {Outcome::Kind::kAnswered, absl::StrSplit(words[0], '+'), words[1]};
}

}  // namespace

struct Cell {
  const Policy* policy;
  const Client* client;
  Way way;
  IpFamily family;
  Protocol protocol;
  int number;  // of the service
  Expectation expected;
  std::string counter;     // of what turns it away; "": nobody counts
  std::string difference;  // why it isn't the specification's, if it isn't
  std::vector<size_t> probes;

  std::string ToString() const {
    return StrCat(policy->name, ": ", client->name, " -> ", WayName(way), " ",
                  ProtocolName(protocol), " ", IpFamilyName(family));
  }
};

namespace {

// So many that an endpoint of the set is missed once in a million cells.
int Tries(const Expectation& expected) {
  constexpr int kTries[] = {3, 4, 24, 40};
  return kTries[expected.endpoints.size()];
}

bool IsOutsideTheCgroup(const Client& client) {
  return client.kind == Client::kHost && !client.socket_path;
}

// Silence is what comes of it here: nobody else has the address.
void ApplyOutsideTheCgroup(Cell* cell) {
  if (cell->way == Way::kNodePort) {
    cell->expected = {Outcome::Kind::kRefused, {}, ""};
    cell->counter = "";
    cell->difference = kUnseenReason;
  } else if (cell->expected.kind == Outcome::Kind::kAnswered) {
    cell->expected = {Outcome::Kind::kSilent, {}, ""};
    cell->difference = kUntranslatedReason;
  }
}

void ApplyDifferences(Cell* cell) {
  if (IsOutsideTheCgroup(*cell->client)) return ApplyOutsideTheCgroup(cell);
  if (!cell->client->socket_path || cell->client->kind != Client::kPod) return;
  const Policy& policy = *cell->policy;
  if (policy.socket_path_external != nullptr && cell->way != Way::kClusterIp) {
    cell->expected = Parse(policy.socket_path_external);
    cell->difference = policy.socket_path_reason;
    return;
  }
  const bool hairpin =
      cell->expected.endpoints.count(cell->client->station) > 0;
  for (const Difference& d : SocketPathDifferences()) {
    if (cell->expected.source != d.wanted || hairpin != d.hairpin) continue;
    cell->expected.source = d.instead;
    cell->difference = d.reason;
    return;
  }
}

const char* Expected(const Policy& policy, const Client& client, Way way) {
  return way == Way::kClusterIp ? policy.cluster_ip[client.kind]
                                : policy.external[client.kind];
}

// What counts each packet or call that is turned away.
std::string CounterOf(const Cell& cell) {
  if (cell.expected.kind == Outcome::Kind::kAnswered) return "";
  if (cell.expected.kind == Outcome::Kind::kSilent) return "drop_policy";
  if (cell.client->socket_path) return "socket_refused";
  return cell.protocol == Protocol::kTcp ? "reject_rst" : "reject_unreachable";
}

std::vector<Cell> CellsOf(const Client& client,
                          const std::vector<Policy>& policies) {
  std::vector<Cell> cells;
  for (size_t i = 0; i < policies.size(); ++i) {
    for (Way way : kWays) {
      const char* text = Expected(policies[i], client, way);
      if (text == nullptr) continue;
      for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
          Cell& cell = cells.emplace_back(
              Cell{&policies[i], &client, way, family, protocol,
                   kFirstNumber + static_cast<int>(i), Parse(text), "", "",
                   {}});
          cell.counter = CounterOf(cell);
          ApplyDifferences(&cell);
        }
      }
    }
  }
  return cells;
}

std::string Describe(const Outcome& outcome) {
  switch (outcome.kind) {
    case Outcome::Kind::kAnswered:
      return StrCat("an answer of ", outcome.who, " to ", outcome.source);
    case Outcome::Kind::kRefused:
      return "a refusal";
    case Outcome::Kind::kSilent:
      return "silence";
    default:
      return outcome.note;
  }
}

std::string Wanted(const Cell& cell) {
  switch (cell.expected.kind) {
    case Outcome::Kind::kRefused:
      return "REJECT";
    case Outcome::Kind::kSilent:
      return "DROP";
    default:
      return StrCat(absl::StrJoin(cell.expected.endpoints, "+"), " ",
                    cell.expected.source);
  }
}

}  // namespace

void Matrix::Apply(const std::vector<Policy>& policies) {
  absl::Status applied = bed_->AndWait([&] {
    bed_->PutNode("a");
    return 1;
  });
  ASSERT_TRUE(applied.ok()) << applied;
  std::vector<ServiceSpec> specs;
  for (size_t i = 0; i < policies.size(); ++i) {
    specs.push_back({.number = kFirstNumber + static_cast<int>(i),
                     .internal_local = policies[i].internal_local,
                     .external_local = policies[i].external_local,
                     .endpoints = policies[i].endpoints,
                     .traffic_distribution =
                         policies[i].traffic_distribution});
  }
  applied = bed_->Apply(specs);
  ASSERT_TRUE(applied.ok()) << applied;
}

void Matrix::Run(const std::vector<Client>& clients,
                 const std::vector<Policy>& policies) {
  ASSERT_NO_FATAL_FAILURE(Apply(policies));
  tables_.push_back({clients, policies, {}});
  for (const Client& client : clients) {
    std::vector<Cell> cells = CellsOf(client, policies);
    // The silent ones at the end, so that no repeated packet of theirs
    // comes by while another cell's are counted.
    RunSome(client, &cells, false);
    RunSome(client, &cells, true);
  }
}

void Matrix::RunSome(const Client& client, std::vector<Cell>* cells,
                     bool silent) {
  Probes probes;
  {
    std::optional<ServiceBed::OnSocketPath> on_socket_path;
    if (client.socket_path) on_socket_path.emplace(*bed_);
    for (Cell& cell : *cells) {
      if ((cell.expected.kind == Outcome::Kind::kSilent) != silent) continue;
      Start(&cell, &probes);
    }
  }
  probes.Finish();
  for (const Cell& cell : *cells) {
    if ((cell.expected.kind == Outcome::Kind::kSilent) != silent) continue;
    Record(cell, Judge(cell, probes));
  }
}

void Matrix::Start(Cell* cell, Probes* probes) {
  const std::string& counter = cell->counter;
  Attempt attempt;
  attempt.to =
      FrontendOf(cell->number, cell->way, cell->family, cell->protocol);
  if (cell->expected.kind == Outcome::Kind::kSilent) {
    attempt.patience = kSilence;
  }
  const int tries = Tries(cell->expected);
  for (int i = 0; i < tries; ++i) {
    attempt.connected = i % 2 == 0;
    attempt.source_port = NextSourcePort();
    cell->probes.push_back(
        probes->Start(bed_->net().at(cell->client->station), attempt));
  }
  probes->Turn();
  if (counter.empty()) return;
  double& total = turned_away_[counter];
  const double wanted = total + tries;
  double now = 0;
  (void)Eventually(
      [&] {
        probes->Turn();
        now = bed_->Counter(counter);
        return now >= wanted;
      },
      absl::Milliseconds(300));
  if (now != wanted) {
    complaints_[cell->ToString()] =
        StrCat(counter, " counted ", now - total, " of ", tries);
  }
  total = now;
}

// What came of a cell's probes instead, and how often what did answer.
std::string Spread(const Cell& cell, const Probes& probes) {
  std::map<std::string, int> seen;
  for (size_t number : cell.probes) {
    const Outcome& outcome = probes.outcome(number);
    ++seen[outcome.kind == Outcome::Kind::kAnswered ? outcome.who
                                                    : Describe(outcome)];
  }
  return absl::StrJoin(seen, ", ", absl::PairFormatter(" x "));
}

// "" if all is as expected.
std::string Matrix::Judge(const Cell& cell, const Probes& probes) {
  std::set<std::string> seen;
  for (size_t number : cell.probes) {
    const Outcome& outcome = probes.outcome(number);
    if (outcome.kind != cell.expected.kind) {
      return StrCat("got ", Spread(cell, probes));
    }
    if (outcome.kind == Outcome::Kind::kRefused &&
        outcome.took > kQuickly) {
      return StrCat("refused after ", absl::FormatDuration(outcome.took));
    }
    if (outcome.kind != Outcome::Kind::kAnswered) continue;
    seen.insert(outcome.who);
    const Station& source = bed_->net().at(
        cell.expected.source == "masq" ? "node1" : cell.client->station);
    const std::string wanted = source.address(cell.family).ToString();
    if (outcome.source != wanted) {
      return StrCat(outcome.who, " saw ", outcome.source, ", not ", wanted);
    }
  }
  if (seen != cell.expected.endpoints) {
    return StrCat("answered by ", absl::StrJoin(seen, "+"));
  }
  auto complaint = complaints_.find(cell.ToString());
  return complaint == complaints_.end() ? "" : complaint->second;
}

void Matrix::Record(const Cell& cell, const std::string& problem) {
  auto& [run, passed] =
      tables_.back()
          .counts[{cell.client->name, WayName(cell.way)}][cell.policy->name];
  ++run;
  passed += problem.empty();
  if (!cell.difference.empty()) differences_[cell.difference]++;
  EXPECT_EQ(problem, "") << cell.ToString() << ", wanted " << Wanted(cell);
}

std::string Matrix::Text(const Table& table, int* empty) const {
  std::string text;
  for (const Client& client : table.clients) {
    text += "\n" + Padded(client.name, kNameWidth);
    for (Way way : kWays) text += Padded(WayName(way), 12);
    for (const Policy& policy : table.policies) {
      text += "\n" + Padded(StrCat("  ", policy.name), kNameWidth);
      for (Way way : kWays) {
        const bool asked = Expected(policy, client, way) != nullptr;
        auto row = table.counts.find({client.name, WayName(way)});
        const bool there =
            row != table.counts.end() && row->second.count(policy.name) > 0;
        const Count count = there ? row->second.at(policy.name) : Count{};
        *empty += asked && count.first != kOfEach;
        text += Padded(!asked            ? "-"
                       : count.first == 0 ? "EMPTY"
                                          : StrCat(count.second, "/",
                                                   count.first),
                       12);
      }
    }
    text += "\n";
  }
  return text;
}

void Matrix::Finish() {
  int empty = 0;
  std::string text = StrCat("== ", name_, "\n");
  for (const Table& table : tables_) text += Text(table, &empty);
  for (const auto& [reason, cells] : differences_) {
    StrAppend(&text, "  not as specified in ", cells, " cells: ", reason, "\n");
  }
  WriteCoverage(text);
  EXPECT_FALSE(tables_.empty());
  EXPECT_EQ(empty, 0) << "cells that nothing asked";
}

}  // namespace fairlead::harness
