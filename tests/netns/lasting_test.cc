// SPDX-License-Identifier: Apache-2.0
// Connections and UDP exchanges of every kind of client, in every way of a
// Service and both families, through every change of lasting_rows.h: they go on
// while it is made and after it, but for those that the row names.
//
// Three sets of flows: some that are there from the first row to the last (a UDP
// exchange that ended begins anew), some that were opened just before the
// change, and those of another Service, which no change ends.
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/netns/coverage.h"
#include "tests/netns/lasting_flows.h"
#include "tests/netns/lasting_rows.h"
#include "tests/netns/pod_process.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using Kind = LastingFlow::Kind;

constexpr int kNumber = 1;
constexpr int kOther = 2;
constexpr Kind kKinds[] = {Kind::kTcp, Kind::kUdpConnected,
                           Kind::kUdpUnconnected};
constexpr absl::Duration kPatience = absl::Seconds(3);
// While an exchange ends, what it hears doesn't matter yet.
constexpr absl::Duration kEnding = absl::Milliseconds(30);
constexpr absl::Duration kSilence = absl::Milliseconds(200);
constexpr int kTries = 3;  // of each cell; all cells together see all endpoints

using Flows = std::vector<std::unique_ptr<LastingFlow>>;

bool IsEndpoint(const std::string& who) {
  const std::vector<std::string> all = Topology::Endpoints();
  return std::find(all.begin(), all.end(), who) != all.end();
}

class LastingTest : public ServiceTest {
 protected:
  static void SetUpTestSuite() {
    ServiceTest::SetUpTestSuite();
    if (bed_ == nullptr) return;
    pod_ = std::make_unique<PodProcess>(bed_->net().at("a"));
  }
  static void TearDownTestSuite() {
    pod_.reset();
    ServiceTest::TearDownTestSuite();
  }

  // ---- what is expected ----

  static bool IsAmong(const char* names, const std::string& name) {
    const std::vector<std::string> all = absl::StrSplit(names, ", ");
    return std::find(all.begin(), all.end(), name) != all.end();
  }
  bool Gone(Way way) const { return IsAmong(row_->gone, WayName(way)); }
  bool Closed(Way way) const { return IsAmong(row_->closed, WayName(way)); }
  // Of new flows: "l1+r1", "DROP", "REFUSED", "" (nobody's).
  std::string WantedOf(const From& from, Way way) const {
    if (Gone(way) || Closed(way)) return "";
    if (way == Way::kClusterIp) return fresh_.cluster_ip;
    const char* external =
        fresh_.external != nullptr ? fresh_.external : fresh_.cluster_ip;
    if (way == Way::kLoadBalancer && fresh_.vip != nullptr) return fresh_.vip;
    const bool outside = std::string(from.station) == "outside";
    return outside && fresh_.outside != nullptr ? fresh_.outside : external;
  }
  static bool Fits(const std::string& got, const std::string& wanted) {
    if (wanted.empty()) return !IsEndpoint(got);
    if (wanted == "DROP") return got.empty() || got == "ENOBUFS";
    if (wanted == "REFUSED") return got == "ECONNREFUSED";
    const std::vector<std::string> all = absl::StrSplit(wanted, '+');
    return std::find(all.begin(), all.end(), got) != all.end();
  }
  bool Ends(const LastingFlow& flow) const {
    if (flow.id().kind == Kind::kUdpUnconnected && flow.id().from.socket_path &&
        Closed(flow.id().way)) {
      return true;
    }
    if (flow.tcp() || flow.id().service == kOther) return false;
    if (MayMove(flow.id()) || Gone(flow.id().way)) return true;
    return IsAmong(row_->udp_ends, "all") ||
           IsAmong(row_->udp_ends, flow.who());
  }

  bool MayMove(const LastingFlow::Id& id) const {
    if (id.kind != Kind::kUdpUnconnected || !id.from.socket_path) return false;
    return row_->sockets_move ||
           (std::string(id.from.station) == "a" &&
            IsAmong(row_->pod_moves, WayName(id.way)));
  }

  // ---- flows ----

  bool CanOpen(const LastingFlow::Id& id) const {
    if (Closed(id.way)) return false;
    return id.service == kOther ||
           IsEndpoint(std::string(WantedOf(id.from, id.way)).substr(0, 2));
  }
  // Those that can be opened and aren't there.
  void Open(int service, Flows* flows) {
    for (const From& from : kFroms) {
      std::optional<ServiceBed::OnSocketPath> on_socket_path;
      if (from.socket_path) on_socket_path.emplace(*bed_);
      for (Way way : kWays) {
        for (IpFamily family : kFamilies) {
          for (Kind kind : kKinds) {
            OpenOne({service, from, way, family, kind}, flows);
          }
        }
      }
    }
  }
  void OpenOne(const LastingFlow::Id& id, Flows* flows) {
    const std::string name = id.ToString();
    for (const auto& flow : *flows) {
      if (flow->id().ToString() == name) return;
    }
    if (!CanOpen(id)) return;
    auto flow = LastingFlow::Open(bed_->net(), id);
    if (flow.ok()) {
      flows->push_back(*std::move(flow));
    } else {
      ADD_FAILURE() << "before this row: " << flow.status();
    }
  }
  std::vector<LastingFlow*> All() const {
    std::vector<LastingFlow*> all;
    for (const Flows* flows : {&first_, &latest_, &others_}) {
      for (const auto& flow : *flows) all.push_back(flow.get());
    }
    return all;
  }

  // ---- changes ----

  int PutObjects() {
    int events = bed_->Put(wanted_.service);
    if (wanted_.zone != is_.zone || wanted_.node_spec != is_.node_spec) {
      bed_->PutNode(wanted_.zone, wanted_.node_spec);
      ++events;
    }
    if (wanted_.service_cidrs != is_.service_cidrs) {
      bed_->api().Put("servicecidrs", "kubernetes", "",
                      StrCat(R"("spec":{"cidrs":[")",
                             absl::StrJoin(wanted_.service_cidrs, "\",\""),
                             "\"]}"));
      ++events;
    }
    return events;
  }
  absl::Status Recreate() {
    constexpr char kRuns[] =
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_count";
    const double runs = bed_->Metric(kRuns);
    FL_RETURN_IF_ERROR(bed_->Remove(kNumber));
    if (!Eventually([&] { return bed_->Metric(kRuns) > runs; })) {
      return absl::DeadlineExceededError("no clean-up: " + bed_->Log());
    }
    return bed_->Apply({wanted_.service});
  }
  absl::Status KillWithoutApi() {
    bed_->StopAgent(SIGKILL);
    (void)PutObjects();
    FL_RETURN_IF_ERROR(bed_->api().Start());
    return bed_->RestartAgent(SIGKILL, wanted_.flags);
  }
  absl::Status MakeChange() {
    switch (row_->act) {
      case Act::kPut:
        return bed_->AndWait([this] { return PutObjects(); });
      case Act::kRecreate:
        return Recreate();
      case Act::kRestart:
        return bed_->RestartAgent(SIGTERM, wanted_.flags);
      case Act::kKill:
        return bed_->RestartAgent(SIGKILL, wanted_.flags);
      case Act::kLoseApi:
        bed_->api().Stop();
        return absl::OkStatus();
      case Act::kKillAlone:
        return KillWithoutApi();
      case Act::kOtherVersion:
        FL_RETURN_IF_ERROR(bed_->TakeOverWithOtherLayout().status());
        return bed_->RestartAgent(SIGTERM, wanted_.flags);
    }
    return absl::InternalError("?");
  }

  // ---- a row ----

  void Run(const Row& row) {
    Open(kNumber, &first_);
    latest_.clear();
    Open(kNumber, &latest_);
    Open(kOther, &others_);
    const bool all_open = *row.closed == 0 && *row_->closed == 0;
    row_ = &row;
    row.change(&wanted_);
    if (row.fresh.cluster_ip != nullptr) fresh_ = row.fresh;
    std::vector<FlowsAtWork::Flow> flows;
    for (LastingFlow* flow : All()) {
      flow->Forget();
      flows.push_back({flow, Ends(*flow) ? kEnding : kPatience});
    }
    {
      FlowsAtWork at_work(std::move(flows));
      ASSERT_TRUE(at_work.WaitForRounds(1));
      ASSERT_OK(MakeChange());
      is_ = wanted_;
      ASSERT_TRUE(at_work.WaitForRounds(2));
    }
    Report(row);
    CheckEnded(&first_);
    CheckEnded(&latest_);
    CheckEnded(&others_);
    if (all_open) {
      ASSERT_EQ(others_.size(), 4u * 4 * 2 * 3);
    }
    for (Flows* flows : {&first_, &latest_, &others_}) CheckKept(flows);
    CheckFresh();
  }

  // Those of the flows that are to end: they do, and are taken away.
  void CheckEnded(Flows* flows) {
    for (const auto& flow : *flows) {
      if (!Ends(*flow)) continue;
      const LastingFlow::Id& id = flow->id();
      const std::string wanted =
          flow->destroyed_when_stale() ? "" : WantedOf(id.from, id.way);
      std::string got;
      EXPECT_TRUE(Eventually([&] {
        got = flow->Exchange(kSilence);
        return flow->destroyed_when_stale()
                   ? got == "ECONNABORTED" || got == "EDESTADDRREQ"
                   : Fits(got, wanted);
      })) << id.ToString() << ": '" << got << "', not " << wanted
          << "; heard " << flow->Heard();
    }
    std::erase_if(*flows, [this](const auto& flow) { return Ends(*flow); });
  }

  // What is broken is told once.
  static void CheckKept(Flows* flows) {
    for (const auto& flow : *flows) {
      EXPECT_EQ(flow->Broken(), "") << flow->id().ToString();
    }
    std::erase_if(*flows,
                  [](const auto& flow) { return !flow->Broken().empty(); });
  }

  void Report(const Row& row) {
    int counts[2][2] = {};  // [UDP][ended]
    for (const LastingFlow* flow : All()) {
      ++counts[!flow->tcp()][Ends(*flow)];
    }
    table_ += Padded(StrCat("  ", row.name), 58);
    table_ += Padded(StrCat(counts[0][0]), 6);
    table_ += Padded(StrCat(counts[1][0]), 6);
    StrAppend(&table_, counts[1][1], "\n");
  }

  // New flows go where they should: the change was made.
  void CheckFresh() {
    std::string problem;
    EXPECT_TRUE(Eventually([&] {
      problem = FreshProblem();
      return problem.empty();
    })) << problem;
  }
  struct Asked {
    From from;
    Way way;
    std::string wanted;
    std::string cell;
    size_t probe;
  };
  std::string FreshProblem() {
    std::map<std::string, std::set<std::string>> seen;   // by what was wanted
    std::map<std::string, std::set<std::string>> cells;  // by client
    for (const From& from : kFroms) {
      Probes probes;
      std::vector<Asked> asked = AskAll(from, &probes);
      probes.Finish();
      for (const Asked& one : asked) {
        const Outcome& outcome = probes.outcome(one.probe);
        const std::string got = Text(outcome);
        if (!Fits(got, one.wanted)) {
          return StrCat("new flows, ", one.cell, ": '", got, "', not '",
                        one.wanted, "'");
        }
        if (!IsEndpoint(got)) continue;
        seen[one.wanted].insert(got);
        cells[one.cell].insert(got);
      }
    }
    return fresh_.sticky ? StickyProblem(cells) : AllProblem(seen);
  }
  std::vector<Asked> AskAll(const From& from, Probes* probes) {
    std::vector<Asked> asked;
    std::optional<ServiceBed::OnSocketPath> on_socket_path;
    if (from.socket_path) on_socket_path.emplace(*bed_);
    for (Way way : kWays) {
      for (IpFamily family : kFamilies) {
        for (Protocol protocol : kProtocols) {
          for (int i = 0; i < kTries; ++i) {
            Attempt attempt{.to = FrontendOf(kNumber, way, family, protocol),
                            .connected = i % 2 == 0,
                            .source_port = NextSourcePort()};
            const std::string wanted = WantedOf(from, way);
            if (!IsEndpoint(wanted.substr(0, 2))) attempt.patience = kSilence;
            if (wanted == "REFUSED") attempt.patience = kPatience;
            // The added port, where there is one.
            if (way == Way::kClusterIp && i == 0 &&
                wanted_.service.more_ports) {
              attempt.to.port = 81;
            }
            asked.push_back({from, way, wanted,
                             StrCat(from.ToString(), " ", IpFamilyName(family),
                                    " ", ProtocolName(protocol)),
                             probes->Start(At(from), attempt)});
          }
        }
      }
    }
    return asked;
  }
  static std::string Text(const Outcome& outcome) {
    switch (outcome.kind) {
      case Outcome::Kind::kAnswered:
        return outcome.who;
      case Outcome::Kind::kRefused:
        return "ECONNREFUSED";
      case Outcome::Kind::kSilent:
        return "";
      default:
        return StrCat("failed ", outcome.note);
    }
  }
  static std::string StickyProblem(
      const std::map<std::string, std::set<std::string>>& cells) {
    for (const auto& [cell, endpoints] : cells) {
      if (endpoints.size() == 1) continue;
      return StrCat(cell, " has ", absl::StrJoin(endpoints, "+"));
    }
    return "";
  }
  static std::string AllProblem(
      const std::map<std::string, std::set<std::string>>& seen) {
    for (const auto& [wanted, endpoints] : seen) {
      if (absl::StrJoin(endpoints, "+") == wanted) continue;
      return StrCat("new flows: ", absl::StrJoin(endpoints, "+"),
                    " answer, not ", wanted);
    }
    return "";
  }

  Flows first_;
  Flows latest_;
  Flows others_;
  Wanted wanted_;
  Wanted is_;
  Fresh fresh_;
  const Row* row_ = nullptr;
  std::string table_;
  inline static std::unique_ptr<PodProcess> pod_;
};

TEST_F(LastingTest, ThroughEveryChange) {
  const Row start = {
      .name = "", .change = Same, .fresh = LastingRows().front().fresh};
  row_ = &start;
  fresh_ = start.fresh;
  wanted_.service = {.number = kNumber, .endpoints = {"l1", "l2", "r1"}};
  // It shares an endpoint with the one that changes.
  ASSERT_OK(bed_->Apply(
      {wanted_.service, {.number = kOther, .endpoints = {"l1", "l3"}}}));
  for (const Row& row : LastingRows()) {
    SCOPED_TRACE(row.name);
    ASSERT_NO_FATAL_FAILURE(Run(row));
  }
  WriteCoverage(StrCat("== flows through every change: TCP connections that "
                       "went on, UDP exchanges that did, and that ended\n",
                       table_));
}

}  // namespace
}  // namespace fairlead::harness
