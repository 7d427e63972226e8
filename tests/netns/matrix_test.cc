// SPDX-License-Identifier: Apache-2.0
// Every kind of frontend, client, policy, protocol and family on real packets:
// who answers, from which address it believes to be asked, or how the client
// is turned away. The coverage is printed; an empty cell fails.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/netns/matrix_cells.h"
#include "tests/netns/probes.h"
#include "tests/netns/service_bed.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr absl::Duration kSilence = absl::Milliseconds(300);
constexpr absl::Duration kQuickly = absl::Milliseconds(500);
constexpr int kFirstNumber = 10;  // of services

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

struct Cell {
  const Policy* policy;
  const Client* client;
  Way way;
  IpFamily family;
  Protocol protocol;
  int number;  // of the service
  Expectation expected;
  std::string difference;  // why it isn't the specification's, if it isn't
  std::vector<size_t> probes;

  std::string ToString() const {
    return StrCat(policy->name, ": ", client->name, " -> ", WayName(way), " ",
                  ProtocolName(protocol), " ", IpFamilyName(family));
  }
};

// So many that an endpoint of the set is missed once in a million cells.
int Tries(const Expectation& expected) {
  constexpr int kTries[] = {3, 4, 24, 40};
  return kTries[expected.endpoints.size()];
}

void ApplyDifferences(Cell* cell) {
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

std::vector<Cell> CellsOf(const Client& client,
                          const std::vector<Policy>& policies) {
  std::vector<Cell> cells;
  for (size_t i = 0; i < policies.size(); ++i) {
    for (Way way : kWays) {
      const char* text = way == Way::kClusterIp
                             ? policies[i].cluster_ip[client.kind]
                             : policies[i].external[client.kind];
      if (text == nullptr) continue;
      for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
          Cell& cell = cells.emplace_back(
              Cell{&policies[i], &client, way, family, protocol,
                   kFirstNumber + static_cast<int>(i), Parse(text), "", {}});
          ApplyDifferences(&cell);
        }
      }
    }
  }
  return cells;
}

// What counts each packet or call that is turned away.
std::string CounterOf(const Cell& cell) {
  if (cell.expected.kind == Outcome::Kind::kSilent) return "drop_policy";
  if (cell.client->socket_path) return "socket_refused";
  return cell.protocol == Protocol::kTcp ? "reject_rst" : "reject_unreachable";
}

class MatrixTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto bed = ServiceBed::Create();
    ASSERT_TRUE(bed.ok()) << bed.status();
    bed_ = *std::move(bed);
  }
  static void TearDownTestSuite() { bed_.reset(); }

  void Prepare(const std::vector<Policy>& policies,
               const std::vector<std::string>& flags) {
    ASSERT_NE(bed_, nullptr);
    absl::Status started = bed_->StartAgent(flags);
    ASSERT_TRUE(started.ok()) << started;
    std::vector<ServiceSpec> specs;
    for (size_t i = 0; i < policies.size(); ++i) {
      specs.push_back({.number = kFirstNumber + static_cast<int>(i),
                       .internal_local = policies[i].internal_local,
                       .external_local = policies[i].external_local,
                       .endpoints = policies[i].endpoints});
    }
    absl::Status applied = bed_->Apply(specs);
    ASSERT_TRUE(applied.ok()) << applied;
  }

  // All cells of all clients.
  void Run(const std::vector<Policy>& policies) {
    for (const Client& client : Clients()) {
      std::vector<Cell> cells = CellsOf(client, policies);
      // The silent ones at the end, so that no repeated packet of theirs
      // comes by while another cell's are counted.
      RunSome(client, &cells, false);
      RunSome(client, &cells, true);
    }
  }

  void RunSome(const Client& client, std::vector<Cell>* cells, bool silent) {
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

  void Start(Cell* cell, Probes* probes) {
    const bool turned_away = cell->expected.kind != Outcome::Kind::kAnswered;
    const std::string counter = CounterOf(*cell);
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
    if (!turned_away) return;
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

  // "" if all is as expected.
  std::string Judge(const Cell& cell, const Probes& probes) {
    std::set<std::string> seen;
    for (size_t number : cell.probes) {
      const Outcome& outcome = probes.outcome(number);
      if (outcome.kind != cell.expected.kind) {
        return StrCat("got ", Describe(outcome));
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

  static std::string Describe(const Outcome& outcome) {
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

  void Record(const Cell& cell, const std::string& problem) {
    auto& [run, passed] =
        table_[{cell.client->name, WayName(cell.way)}][cell.policy->name];
    ++run;
    passed += problem.empty();
    if (!cell.difference.empty()) differences_[cell.difference]++;
    EXPECT_EQ(problem, "") << cell.ToString() << ", wanted "
                           << Wanted(cell);
  }

  static std::string Wanted(const Cell& cell) {
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

  void PrintDifferences() const {
    for (const auto& [reason, cells] : differences_) {
      std::printf("  not as specified in %d cells: %s\n", cells,
                  reason.c_str());
    }
  }

  // {client, way} -> policy -> {cells run, cells passed}
  using Count = std::pair<int, int>;
  std::map<std::pair<std::string, std::string>, std::map<std::string, Count>>
      table_;
  std::map<std::string, std::string> complaints_;
  std::map<std::string, double> turned_away_;  // by counter, up to now
  std::map<std::string, int> differences_;
  inline static std::unique_ptr<ServiceBed> bed_;
};

// A row a policy, a column a client and way; the cells are those of two
// protocols in two families.
void PrintCoverage(
    const std::map<std::pair<std::string, std::string>,
                   std::map<std::string, std::pair<int, int>>>& table,
    int* empty) {
  for (const Client& client : Clients()) {
    std::printf("\n%-32s", client.name);
    for (Way way : kWays) std::printf("%12s", WayName(way));
    for (const Policy& policy : Policies()) {
      std::printf("\n  %-30s", policy.name);
      for (Way way : kWays) {
        auto row = table.find({client.name, WayName(way)});
        const bool there =
            row != table.end() && row->second.count(policy.name) > 0;
        const auto count =
            there ? row->second.at(policy.name) : std::pair<int, int>{};
        *empty += count.first != 4;
        std::printf("%12s", count.first == 0
                                ? "EMPTY"
                                : StrCat(count.second, "/", count.first)
                                      .c_str());
      }
    }
    std::printf("\n");
  }
}

TEST_F(MatrixTest, EveryCell) {
  const absl::Time begin = absl::Now();
  ASSERT_NO_FATAL_FAILURE(Prepare(Policies(), ServiceBed::ClusterCidrs()));
  Run(Policies());
  int empty = 0;
  PrintCoverage(table_, &empty);
  PrintDifferences();
  std::printf("  %s for all cells\n",
              absl::FormatDuration(absl::Now() - begin).c_str());
  EXPECT_EQ(empty, 0) << "cells that nothing asked";
}

TEST_F(MatrixTest, MasqueradeAll) {
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.push_back("--masquerade-all");
  ASSERT_NO_FATAL_FAILURE(Prepare(MasqueradeAllPolicies(), flags));
  Run(MasqueradeAllPolicies());
  PrintDifferences();
}

TEST_F(MatrixTest, WithoutALocalDetector) {
  ASSERT_NO_FATAL_FAILURE(Prepare(NoDetectorPolicies(), {}));
  Run(NoDetectorPolicies());
  PrintDifferences();
}

}  // namespace
}  // namespace fairlead::harness
