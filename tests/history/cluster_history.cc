// SPDX-License-Identifier: Apache-2.0
#include "tests/history/cluster_history.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "tests/golden/fake_maps.h"
#include "tests/history/drawn_objects.h"
#include "userspace/base/strings.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/service_cidr.h"
#include "userspace/model/intake.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::history {
namespace {

using kube::EncodedObject;
using kube::Encoding;
using reconcile::ApplyResult;
using reconcile::FakeMaps;
using reconcile::Reconciler;

constexpr int kMaxSteps = 24;
constexpr absl::Duration kGrace = absl::Seconds(10);
// More than drawn objects can ask for.
constexpr reconcile::MapSet::Capacity kCapacity = {.services = 2000,
                                                   .slots = 4000,
                                                   .backends = 1000,
                                                   .source_ranges = 500,
                                                   .node_addresses = 20};

// What the kernel shall have, by what a reader of the objects knows: the last
// version of each that could be used. The product isn't asked.
class Expected {
 public:
  explicit Expected(std::map<std::string, int>* seen) : seen_(seen) {}

  void PutService(const EncodedObject& object) {
    const std::string key = NameOf(object);
    if (!key.empty()) listed_services_.insert(key);
    const Judgement judgement = JudgeService(object);
    Count(judgement);
    if (judgement == Judgement::kTaken) {
      services_[key] = *kube::DecodeService(object);
      bad_services_.erase(key);
    } else if (judgement == Judgement::kRefused) {
      bad_services_.insert(key);
    }
  }
  void PutSlice(const EncodedObject& object) {
    const std::string key = NameOf(object);
    if (!key.empty()) listed_slices_.insert(key);
    const Judgement judgement = JudgeEndpointSlice(object);
    Count(judgement);
    if (judgement == Judgement::kTaken) {
      slices_[key] = *kube::DecodeEndpointSlice(object);
    }
  }
  void DeleteService(const EncodedObject& object) {
    ++(*seen_)["deleted"];
    services_.erase(NameOf(object));
    bad_services_.erase(NameOf(object));
  }
  void DeleteSlice(const EncodedObject& object) {
    ++(*seen_)["deleted"];
    slices_.erase(NameOf(object));
  }
  void BeginList() {
    listed_services_.clear();
    listed_slices_.clear();
  }
  void EndList() {
    std::erase_if(services_, [this](const auto& entry) {
      return !listed_services_.contains(entry.first);
    });
    std::erase_if(bad_services_, [this](const std::string& key) {
      return !listed_services_.contains(key);
    });
    std::erase_if(slices_, [this](const auto& entry) {
      return !listed_slices_.contains(entry.first);
    });
  }

  // A Service that is there, and of which no version can be used.
  bool has_unusable_service() const {
    return std::any_of(bad_services_.begin(), bad_services_.end(),
                       [this](const std::string& key) {
                         return !services_.contains(key);
                       });
  }
  const std::map<std::string, kube::Service>& services() const {
    return services_;
  }
  const std::map<std::string, kube::EndpointSlice>& slices() const {
    return slices_;
  }

 private:
  static std::string NameOf(const EncodedObject& object) {
    auto meta = kube::DecodeMeta(object);
    return meta.ok() ? StrCat(meta->ns, "/", meta->name) : "";
  }

  void Count(Judgement judgement) {
    ++(*seen_)[judgement == Judgement::kTaken     ? "taken"
               : judgement == Judgement::kRefused ? "refused"
                                                  : "nameless"];
  }

  std::map<std::string, int>* seen_;
  std::map<std::string, kube::Service> services_;
  std::map<std::string, kube::EndpointSlice> slices_;
  std::set<std::string> bad_services_;
  std::set<std::string> listed_services_;
  std::set<std::string> listed_slices_;
};

// Entries that only wait for their flows to end depend on the past.
std::vector<std::string> Settled(const reconcile::MapSet& maps) {
  std::vector<std::string> lines = reconcile::DumpMaps(maps, /*ids=*/false);
  std::erase_if(lines, [](const std::string& line) {
    return line.starts_with("backend ") && !line.ends_with(" on");
  });
  return lines;
}

std::vector<std::string> Without(const std::vector<std::string>& these,
                                 const std::vector<std::string>& those) {
  std::vector<std::string> out;
  std::set_difference(these.begin(), these.end(), those.begin(), those.end(),
                      std::back_inserter(out));
  return out;
}

class History {
 public:
  explicit History(absl::Span<const uint8_t> bytes)
      : drawn_(bytes), expected_(&report_.seen), maps_(kCapacity) {
    node_.name = "node-0";
    node_.zone = "zone-0";
    node_.addresses = {{*IpAddress::Parse("192.0.2.10"), true}};
    Start();
  }

  HistoryReport Run() {
    for (int i = 0; i < kMaxSteps && !drawn_.done() && ok(); ++i) {
      Step();
      Apply();
      Check();
    }
    if (ok()) DeleteAll();
    if (!ok()) {
      report_.failure =
          StrCat(report_.failure, "\nafter:\n", absl::StrJoin(log_, "\n"));
    }
    return std::move(report_);
  }

 private:
  bool ok() const { return report_.failure.empty(); }
  void Fail(std::string what) {
    if (!ok()) return;
    report_.failure = std::move(what);
    if (!log_.empty()) log_.back() += "   <- here";
  }

  // ---- what happens ----

  void Step() {
    switch (drawn_.Below(16)) {
      case 12:
        return PutNode();
      case 13:
        return PutServiceCidr();
      case 14:
        return drawn_.OneIn(2) ? Restart() : Relist();
      case 15:
        return Pass();
      default:
        return drawn_.OneIn(2) ? Change(DrawnServiceName(), false)
                               : Change(DrawnSliceName(), true);
    }
  }

  // "svc-1", "slice-1-0": where the API has an object.
  std::string DrawnServiceName() {
    number_ = drawn_.Below(kServices);
    return StrCat("svc-", number_);
  }
  std::string DrawnSliceName() {
    number_ = drawn_.Below(kServices);
    sub_number_ = drawn_.Below(kSlicesPerService);
    return StrCat("slice-", number_, "-", sub_number_);
  }

  // One in three is as it should be; the others aren't, in one of two ways.
  SentObject Spoil(Json object) {
    const Encoding encoding =
        drawn_.OneIn(2) ? Encoding::kProtobuf : Encoding::kJson;
    const uint32_t way = drawn_.Below(3);
    if (way == 1) {
      for (uint32_t i = 0; i <= drawn_.Below(3) && object.is_structured() &&
                           !object.empty();
           ++i) {
        MutateTree(&object, &drawn_);
      }
    }
    SentObject sent(object, way == 1 ? Encoding::kJson : encoding);
    if (way == 2) sent.Mutate(&drawn_);
    return sent;
  }

  void Change(const std::string& name, bool slice) {
    auto& objects = slice ? slices_ : services_;
    if (drawn_.OneIn(6)) {
      auto it = objects.find(name);
      if (it == objects.end()) return;
      log_.push_back(StrCat("delete ", it->second.ToString()));
      if (slice) {
        expected_.DeleteSlice(it->second.view());
        DeleteEndpointSlice(it->second.view(), cluster_.get());
      } else {
        expected_.DeleteService(it->second.view());
        DeleteService(it->second.view(), cluster_.get());
      }
      objects.erase(it);
      return;
    }
    SentObject sent =
        Spoil(slice ? DrawEndpointSlice(number_, sub_number_, &drawn_)
                    : DrawService(number_, &drawn_));
    log_.push_back(StrCat("put ", sent.ToString()));
    if (slice) {
      expected_.PutSlice(sent.view());
      PutEndpointSlice(sent.view(), cluster_.get());
    } else {
      expected_.PutService(sent.view());
      PutService(sent.view(), cluster_.get());
    }
    objects[name] = std::move(sent);
  }

  // What the agent makes of its Node, as far as the model goes.
  void PutNode() {
    const SentObject sent = Spoil(DrawNode(&drawn_));
    log_.push_back(StrCat("node ", sent.ToString()));
    auto node = kube::DecodeNode(sent.view());
    if (!node.ok()) return;
    node_.zone = node->zone;
    node_.addresses.clear();
    for (const IpAddress& ip : node->internal_ips) {
      if (node_.addresses.size() < kCapacity.node_addresses) {
        node_.addresses.push_back({ip, true});
      }
    }
    cluster_->SetNode(node_);
  }

  void PutServiceCidr() {
    const SentObject sent = Spoil(DrawServiceCidr(&drawn_));
    log_.push_back(StrCat("ServiceCIDR ", sent.ToString()));
    auto ranges = kube::DecodeServiceCidr(sent.view());
    if (ranges.ok() && ranges->meta.name.empty()) {
      Fail("a ServiceCIDR without a name");
    }
  }

  void Relist() {
    log_.push_back("list");
    expected_.BeginList();
    cluster_->BeginServiceList();
    for (const auto& [name, sent] : services_) {
      expected_.PutService(sent.view());
      PutService(sent.view(), cluster_.get());
    }
    cluster_->EndServiceList();
    cluster_->BeginEndpointSliceList();
    for (const auto& [name, sent] : slices_) {
      expected_.PutSlice(sent.view());
      PutEndpointSlice(sent.view(), cluster_.get());
    }
    cluster_->EndEndpointSliceList();
    expected_.EndList();
  }

  // The process ends and another one begins, with the same maps and what the
  // API says now.
  void Restart() {
    log_.push_back("restart");
    ++report_.seen["restart"];
    left_ = Settled(maps_);
    expected_ = Expected(&report_.seen);
    Start();
    Relist();
  }

  void Start() {
    cluster_ = std::make_unique<model::Cluster>(node_);
    reconciler_ = std::make_unique<Reconciler>(
        &maps_, reconcile::ReconcilerOptions{.grace = kGrace});
    if (!reconciler_->Restore().ok()) Fail("Restore() failed");
    first_ = true;
  }

  void Pass() {
    now_ += absl::Seconds(drawn_.Below(15));
    log_.push_back(StrCat("at ", absl::ToInt64Seconds(now_)));
    if (!reconciler_->Advance(now_).ok()) Fail("Advance() failed");
  }

  // As the apply loop does: for the first time anyway, then when the model has
  // something.
  void Apply() {
    if (!cluster_->has_dirty() && !std::exchange(first_, false)) return;
    first_ = false;
    const ApplyResult result = reconciler_->Apply(cluster_.get(), now_);
    for (const ApplyResult::Failure& failure : result.failures) {
      Fail(StrCat("Apply(): ", failure.service, " ",
                  failure.status.ToString()));
    }
  }

  // ---- what must hold ----

  std::vector<std::string> FromScratch() const {
    model::Cluster cluster(node_);
    for (const auto& [key, service] : expected_.services()) {
      cluster.PutService(service);
    }
    for (const auto& [key, slice] : expected_.slices()) {
      cluster.PutEndpointSlice(slice);
    }
    FakeMaps maps(kCapacity);
    Reconciler reconciler(&maps, {});
    if (!reconciler.Restore().ok() ||
        !reconciler.Apply(&cluster, absl::ZeroDuration()).ok()) {
      return {"a start from scratch failed"};
    }
    return Settled(maps);
  }

  // 1. A program may look at any time.
  // 2. The kernel has what a start from scratch with the same objects would
  //    put there; of those that can't be used, their last good version.
  // 3. Only since a restart, and only while a Service has no version that can be
  //    used, what was there before may stay, too: it may be that Service's.
  // 4. Nothing changed is nothing to do.
  void Check() {
    const std::vector<std::string> wrong = reconcile::CheckReadable(maps_);
    if (!wrong.empty()) Fail(absl::StrJoin(wrong, "\n"));
    const bool unusable = expected_.has_unusable_service();
    if (cluster_->has_unusable_service() != unusable) {
      Fail("has_unusable_service()");
    }
    if (!unusable) left_.clear();
    const std::vector<std::string> scratch = FromScratch();
    const std::vector<std::string> kernel = Settled(maps_);
    const std::vector<std::string> more = Without(kernel, scratch);
    if (!more.empty()) ++report_.seen["left over"];
    ExpectNone("missing", Without(scratch, kernel));
    ExpectNone("too much", NotLeft(more));
    if (!ok()) {
      StrAppend(&report_.failure, "\nin the kernel:\n",
                absl::StrJoin(kernel, "\n"));
    }
    if (drawn_.OneIn(4)) CheckIdle();
  }

  // Of what is there besides, what the process before has not left. (A range is
  // named by its service's first frontend, which may have been taken over.)
  std::vector<std::string> NotLeft(const std::vector<std::string>& more) const {
    std::vector<std::string> out;
    for (const std::string& line : Without(more, left_)) {
      const size_t name = line.find(' '), prefix = line.rfind(' ');
      const std::string service =
          StrCat("service", line.substr(name, prefix - name), " ");
      auto begins = [&service](const std::string& other) {
        return other.starts_with(service);
      };
      const bool left =
          !left_.empty() && line.starts_with("range ") &&
          std::any_of(more.begin(), more.end(), begins) &&
          std::any_of(left_.begin(), left_.end(), begins) &&
          std::any_of(left_.begin(), left_.end(),
                      [&](const std::string& other) {
                        return other.starts_with("range ") &&
                               other.ends_with(line.substr(prefix));
                      });
      if (!left) out.push_back(line);
    }
    return out;
  }

  void ExpectNone(const char* what, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    Fail(StrCat(what, ":\n", absl::StrJoin(lines, "\n")));
  }

  void CheckIdle() {
    for (const auto& [key, service] : expected_.services()) {
      cluster_->MarkDirty(key);
    }
    const size_t done = reconciler_->Apply(cluster_.get(), now_).operations;
    if (done != 0) Fail(StrCat(done, " operations for nothing"));
  }

  // 5. Without objects there is nothing but the node.
  void DeleteAll() {
    log_.push_back("delete all");
    services_.clear();
    slices_.clear();
    Relist();
    Apply();
    Check();
    if (!reconciler_->Advance(now_ + kGrace).ok()) Fail("Advance() failed");
    std::vector<std::string> rest = reconcile::DumpMaps(maps_, false);
    std::erase_if(rest, [](const std::string& line) {
      return line.starts_with("node ");
    });
    ExpectNone("not deleted", rest);
  }

  DrawnBytes drawn_;
  HistoryReport report_;
  // What the API has: by the name of its place, whatever its own name is.
  std::map<std::string, SentObject> services_;
  std::map<std::string, SentObject> slices_;
  uint32_t number_ = 0, sub_number_ = 0;
  Expected expected_;
  model::NodeConfig node_;
  FakeMaps maps_;
  std::unique_ptr<model::Cluster> cluster_;
  std::unique_ptr<Reconciler> reconciler_;
  bool first_ = true;
  absl::Duration now_ = absl::Seconds(1000);
  std::vector<std::string> left_;  // by the process before, sorted
  std::vector<std::string> log_;
};

}  // namespace

HistoryReport RunClusterHistory(absl::Span<const uint8_t> bytes) {
  return History(bytes).Run();
}

}  // namespace fairlead::history
