// SPDX-License-Identifier: Apache-2.0
// A real agent and an API server that sends what it should not: some hundred
// objects made from valid ones by changing anything of them, as text and as
// protobuf. It never stops; each that can't be used is told of once, by its
// name, or counted where it has none; and after each batch, which ends with one
// that ends the watch itself, another Service gets its changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "absl/strings/match.h"
#include "control/api/kinds.h"
#include "control/api/protobuf_object.h"
#include "tests/history/drawn_objects.h"
#include "tests/netns/agent_fixture.h"
#include "userspace/kube/wire.h"

namespace fairlead::harness {
namespace {

using history::DrawnBytes;
using history::Json;
using history::Judgement;
using history::SentObject;
using kube::Encoding;

constexpr int kBatches = 10;
constexpr int kBatch = 27;

struct Kind {
  const char* resource;
  const char* kind;
  const char* api_version;
};
constexpr Kind kKinds[] = {
    {"services", "Service", "v1"},
    {"endpointslices", "EndpointSlice", "discovery.k8s.io/v1"},
    {"nodes", "Node", "v1"},
    {"servicecidrs", "ServiceCIDR", "networking.k8s.io/v1"}};

std::string ProtobufFrame(std::string_view type, const std::string& object) {
  static const api::KindTable kinds = api::MakeKindTable();
  static const api::ProtobufObjects objects(&kinds);
  return objects.WatchFrame(type, Json::parse(object));
}

int Count(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = text.find(what); at != text.npos;
       at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

class AgentMutants : public AgentTest,
                     public ::testing::WithParamInterface<Encoding> {
 protected:
  struct Mutant {
    const Kind* kind;
    SentObject sent;
  };

  void SetUp() override {
    AgentTest::SetUp();
    if (GetParam() == Encoding::kProtobuf) {
      api_->WatchInProtobuf(ProtobufFrame);
    }
    std::mt19937 random(GetParam() == Encoding::kJson ? 41 : 42);
    bytes_.resize(400000);
    for (uint8_t& byte : bytes_) byte = static_cast<uint8_t>(random());
    drawn_.emplace(bytes_);
  }

  const Kind& DrawKind() {
    // Mostly what services are made of.
    const uint32_t n = drawn_->Below(12);
    return kKinds[n < 5 ? 0 : n < 10 ? 1 : n - 8];
  }

  Json DrawObject(const Kind& kind, uint64_t version) {
    const uint32_t number = drawn_->Below(history::kServices);
    Json object;
    switch (&kind - kKinds) {
      case 0:
        object = history::DrawService(number, &*drawn_);
        break;
      case 1:
        object = history::DrawEndpointSlice(
            number, drawn_->Below(history::kSlicesPerService), &*drawn_);
        break;
      case 2:
        object = history::DrawNode(&*drawn_);
        object["metadata"]["name"] = "n1";
        break;
      default:
        object = history::DrawServiceCidr(&*drawn_);
    }
    if (&kind - kKinds < 2) {
      object["metadata"]["name"] = StrCat("m-", version);  // told of by name
    }
    object["metadata"]["resourceVersion"] = StrCat(version);
    return object;
  }

  SentObject DrawMutant(const Kind& kind, uint64_t version) {
    Json object = DrawObject(kind, version);
    if (GetParam() == Encoding::kProtobuf) {
      SentObject sent(object, GetParam());
      sent.Mutate(&*drawn_);
      return sent;
    }
    for (uint32_t i = 0; i <= drawn_->Below(4); ++i) {
      if (object.is_structured() && !object.empty()) {
        history::MutateTree(&object, &*drawn_);
      }
    }
    SentObject sent(object, GetParam());
    // Some aren't even text.
    if (drawn_->OneIn(4)) sent.Mutate(&*drawn_);
    return sent;
  }

  // Does a watch that gets it go on, and at this version?
  bool IsEvent(const Kind& kind, const std::string& frame, uint64_t version) {
    auto decoded =
        GetParam() == Encoding::kProtobuf
            ? kube::DecodeProtobufWatchFrame(
                  std::string_view(frame).substr(4))
            : kube::DecodeWatchFrame(Padded(frame));
    if (!decoded.ok()) return false;
    auto head = kube::HeadOf(*decoded);
    return head.ok() && head->resource_version == StrCat(version) &&
           (head->kind.empty() || head->kind == kind.kind) &&
           (GetParam() == Encoding::kProtobuf || IsOneText(frame));
  }

  std::string_view Padded(const std::string& frame) {
    padded_ = frame + std::string(64, '\0');
    return std::string_view(padded_).substr(0, frame.size());
  }

  // What follows would be in the same text, or in none.
  static bool IsOneText(const std::string& frame) {
    int texts = 0;
    kube::JsonSplitter splitter;
    absl::Status status = splitter.Feed(frame, [&](std::string_view) {
      ++texts;
      return true;
    });
    return status.ok() && texts == 1 && !splitter.partial();
  }

  // Sends a mutant that the watch survives.
  void SendOne() {
    const Kind& kind = DrawKind();
    SentObject sent;
    api_->SendEvent(kind.resource, [&](uint64_t version) {
      std::string frame;
      do {
        sent = DrawMutant(kind, version);
        frame = sent.WatchFrame("MODIFIED", kind.kind, kind.api_version);
      } while (!IsEvent(kind, frame, version));
      return frame;
    });
    Expect(kind, sent);
  }

  void Expect(const Kind& kind, const SentObject& sent) {
    ++events_[kind.resource];
    if (&kind - kKinds >= 2) return;  // those aren't told by name
    const Judgement judgement =
        &kind == kKinds ? history::JudgeService(sent.view())
                        : history::JudgeEndpointSlice(sent.view());
    ++judged_[judgement];
    if (judgement == Judgement::kNameless) ++nameless_[kind.resource];
  }

  // One after which there is no telling where the next begins, or no version to
  // go on from.
  void EndWatch(const Kind& kind) {
    api_->SendEvent(kind.resource, [&](uint64_t version) {
      for (;;) {
        const SentObject sent = DrawMutant(kind, version);
        const std::string frame =
            sent.WatchFrame("MODIFIED", kind.kind, kind.api_version);
        if (!IsEvent(kind, frame, version) && !IsDelayed(frame)) return frame;
      }
    });
  }

  // Is it refused at once, as far as the stream goes? (One that is still open
  // swallows what follows; one of another version moves the watch there.)
  bool IsDelayed(const std::string& frame) {
    if (GetParam() == Encoding::kProtobuf) {
      auto decoded = kube::DecodeProtobufWatchFrame(
          std::string_view(frame).substr(4));
      if (!decoded.ok()) return false;
      auto head = kube::HeadOf(*decoded);
      return head.ok() && !head->resource_version.empty();
    }
    if (!IsOneText(frame)) return true;
    auto decoded = kube::DecodeWatchFrame(Padded(frame));
    if (!decoded.ok()) return false;
    auto head = kube::HeadOf(*decoded);
    return head.ok() && !head->resource_version.empty();
  }

  double Of(const char* metric, const std::string& resource) {
    return Metric(StrCat(metric, "{resource=\"", resource, "\"}"));
  }

  void ExpectTold() {
    for (const Kind& kind : kKinds) {
      const std::string resource = kind.resource;
      ASSERT_TRUE(Eventually([&] {
        return Of("fl_api_events_total", resource) >= events_[resource];
      })) << resource << " " << events_[resource] << " of "
          << Of("fl_api_events_total", resource) << "\n" << Log();
    }
    const int refused = judged_[Judgement::kRefused];
    auto told = [&] {
      const std::string log = Log();
      return Count(log, "reason=BadService ") +
             Count(log, "reason=BadEndpointSlice ");
    };
    EXPECT_TRUE(Eventually([&] { return told() >= refused; }));
    EXPECT_EQ(told(), refused);
    for (const char* resource : {"services", "endpointslices"}) {
      EXPECT_EQ(Of("fl_api_undecodable_total", resource),
                nameless_[resource]);
    }
  }

  std::vector<uint8_t> bytes_;
  std::optional<DrawnBytes> drawn_;
  std::string padded_;
  std::map<std::string, int> events_;
  std::map<std::string, int> nameless_;
  std::map<Judgement, int> judged_;
};

TEST_P(AgentMutants, DoNotStopIt) {
  PutService("canary", kVip);
  PutEndpoints("canary", {1});
  StartAgent();
  WaitHealthy();
  ASSERT_EQ(Connect(), "10.244.0.1");
  for (const Kind& kind : kKinds) {
    events_[kind.resource] =
        static_cast<int>(Of("fl_api_events_total", kind.resource));
  }
  for (int batch = 0; batch < kBatches; ++batch) {
    SCOPED_TRACE(StrCat("batch ", batch));
    for (int i = 0; i < kBatch; ++i) SendOne();
    ASSERT_NO_FATAL_FAILURE(ExpectTold());
    const Kind& ended = kKinds[batch % 2];
    const double errors = Of("fl_api_errors_total", ended.resource);
    EndWatch(ended);
    ASSERT_TRUE(Eventually([&] {
      return Of("fl_api_errors_total", ended.resource) > errors;
    })) << Log();
    const int number = 1 + (batch + 1) % 3;
    PutService("canary", kVip, 81 + batch);
    PutEndpoints("canary", {number});
    ASSERT_TRUE(Eventually([&] {
      return Connect(kVip, 81 + batch) == StrCat("10.244.0.", number);
    })) << Log();
    for (const Kind& kind : kKinds) {
      events_[kind.resource] =
          static_cast<int>(Of("fl_api_events_total", kind.resource));
    }
    ASSERT_EQ(waitpid(agent_, nullptr, WNOHANG), 0) << "the agent has ended";
  }
  // Of another kind: left out, and counted.
  api_->SendEvent("services", [&](uint64_t version) {
    Json object = DrawObject(kKinds[0], version);
    if (GetParam() == Encoding::kJson) {
      object["kind"] = "ReplicationController";
    }
    return SentObject(object, GetParam())
        .WatchFrame("ADDED", "ReplicationController", "v1");
  });
  EXPECT_TRUE(Eventually(
      [&] { return Of("fl_api_ignored_total", "services") == 1; }));
  // Or it proves little.
  EXPECT_GT(judged_[Judgement::kTaken], 20);
  EXPECT_GT(judged_[Judgement::kRefused], 50);
  EXPECT_GT(judged_[Judgement::kNameless], 5);
  std::printf("taken %d, refused %d, nameless %d\n",
              judged_[Judgement::kTaken], judged_[Judgement::kRefused],
              judged_[Judgement::kNameless]);
}

INSTANTIATE_TEST_SUITE_P(Encodings, AgentMutants,
                         ::testing::Values(Encoding::kJson,
                                           Encoding::kProtobuf),
                         [](const auto& info) {
                           return info.param == Encoding::kJson ? "Json"
                                                                : "Protobuf";
                         });

}  // namespace
}  // namespace fairlead::harness
