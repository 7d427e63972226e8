// SPDX-License-Identifier: Apache-2.0
// The client's protobuf: recorded answers of a Kubernetes 1.36 API server mean
// the same in both encodings; objects written by the API server's own encoder
// too; and what is cut off or corrupt is an error that loses nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "control/api/kinds.h"
#include "control/api/protobuf_object.h"
#include "tests/unit/played_transport.h"
#include "userspace/base/strings.h"
#include "userspace/kube/client.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/service_cidr.h"
#include "userspace/kube/reflector.h"
#include "userspace/kube/wire.h"

namespace fairlead::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::string TestFile(const std::string& name) {
  std::ifstream file(std::string(FAIRLEAD_SOURCE_DIR) +
                     "/tests/unit/testdata/kube/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Every object of a recorded page, decoded.
template <typename T, typename Decode>
std::vector<T> Page(const std::string& name, Decode decode) {
  std::vector<T> objects;
  const Encoding encoding =
      name.ends_with(".pb") ? Encoding::kProtobuf : Encoding::kJson;
  auto each = [&](std::string_view item) {
    auto object = decode(EncodedObject{encoding, item});
    ASSERT_TRUE(object.ok()) << object.status();
    objects.push_back(*std::move(object));
  };
  std::string body = TestFile(name);
  auto page = encoding == Encoding::kProtobuf
                  ? DecodeProtobufListPage(body, each)
                  : DecodeListPage(&body, each);
  EXPECT_TRUE(page.ok()) << page.status();
  if (page.ok()) {
    EXPECT_NE(page->resource_version, "");
    EXPECT_EQ(page->continue_token.empty(), !name.ends_with("1.pb") &&
              !name.ends_with("2.pb") && !name.ends_with("1.json") &&
              !name.ends_with("2.json")) << name;
  }
  return objects;
}

TEST(ProtobufPages, MeanWhatJsonMeans) {
  using ServiceDecoder = absl::StatusOr<Service> (*)(const EncodedObject&);
  using SliceDecoder = absl::StatusOr<EndpointSlice> (*)(const EncodedObject&);
  using NodeDecoder = absl::StatusOr<Node> (*)(const EncodedObject&);
  for (int n : {1, 2, 3}) {
    const std::string services = StrCat("services_page", n);
    auto decode_service = static_cast<ServiceDecoder>(DecodeService);
    auto protobuf = Page<Service>(services + ".pb", decode_service);
    EXPECT_THAT(protobuf, SizeIs(7));
    EXPECT_EQ(protobuf, Page<Service>(services + ".json", decode_service));
    const std::string slices = StrCat("endpointslices_page", n);
    auto decode_slice = static_cast<SliceDecoder>(DecodeEndpointSlice);
    auto slices_read = Page<EndpointSlice>(slices + ".pb", decode_slice);
    EXPECT_THAT(slices_read, Not(IsEmpty()));
    EXPECT_EQ(slices_read,
              Page<EndpointSlice>(slices + ".json", decode_slice));
  }
  auto decode_node = static_cast<NodeDecoder>(DecodeNode);
  auto nodes = Page<Node>("nodes_list.pb", decode_node);
  EXPECT_THAT(nodes, Not(IsEmpty()));
  EXPECT_EQ(nodes, Page<Node>("nodes_list.json", decode_node));
}

// ---- objects made here, written by another encoder ----

class BothEncodings : public ::testing::Test {
 protected:
  // The message of an object, without its envelope.
  std::string Message(const std::string& json) {
    const Json object = Json::parse(json);
    const std::string frame_bytes = objects_.WatchFrame("ADDED", object);
    auto frame =
        DecodeProtobufWatchFrame(std::string_view(frame_bytes).substr(4));
    EXPECT_TRUE(frame.ok()) << frame.status();
    if (!frame.ok()) return "";
    EXPECT_EQ(frame->kind, object["kind"].get<std::string>());
    return std::string(frame->object.bytes);
  }

  // Decodes both; checks that they agree; the error's text or "".
  template <typename Decode>
  std::string Agree(const std::string& json, Decode decode) {
    const std::string message = Message(json);
    auto from_json = decode(EncodedObject{Encoding::kJson, json});
    auto from_protobuf = decode(EncodedObject{Encoding::kProtobuf, message});
    EXPECT_EQ(from_json.status(), from_protobuf.status()) << json;
    if (!from_json.ok() || !from_protobuf.ok()) {
      return std::string(from_protobuf.status().message());
    }
    EXPECT_TRUE(*from_json == *from_protobuf) << json;
    return "";
  }
  std::string AgreeService(const std::string& rest) {
    return Agree(
        StrCat(R"({"kind":"Service","apiVersion":"v1",)", rest, "}"),
        [](const EncodedObject& o) { return DecodeService(o); });
  }
  std::string AgreeSlice(const std::string& rest) {
    return Agree(StrCat(R"({"kind":"EndpointSlice","apiVersion":)",
                        R"("discovery.k8s.io/v1",)", rest, "}"),
                 [](const EncodedObject& o) { return DecodeEndpointSlice(o); });
  }
  std::string AgreeNode(const std::string& rest) {
    return Agree(StrCat(R"({"kind":"Node","apiVersion":"v1",)", rest, "}"),
                 [](const EncodedObject& o) { return DecodeNode(o); });
  }

  std::string AgreeServiceCidr(const std::string& rest) {
    return Agree(StrCat(R"({"kind":"ServiceCIDR","apiVersion":)",
                        R"("networking.k8s.io/v1",)", rest, "}"),
                 [](const EncodedObject& o) { return DecodeServiceCidr(o); });
  }

  api::KindTable kinds_ = api::MakeKindTable();
  api::ProtobufObjects objects_{&kinds_};
};

TEST_F(BothEncodings, ServiceCidr) {
  EXPECT_EQ(AgreeServiceCidr(R"("metadata":{"name":"kubernetes"},
      "spec":{"cidrs":["10.96.0.0/12","fd00:10:96::/108"]})"), "");
  EXPECT_EQ(AgreeServiceCidr(R"("metadata":{"name":"n"})"), "");
  EXPECT_THAT(AgreeServiceCidr(R"("metadata":{"name":"n"},
      "spec":{"cidrs":["10.96.0.0/12","10.96.0.0"]})"),
              HasSubstr("spec.cidrs"));
}

TEST_F(BothEncodings, EveryFieldThatAProxyReads) {
  EXPECT_EQ(AgreeService(R"("metadata":{"namespace":"d","name":"w",
    "uid":"u","resourceVersion":"7","creationTimestamp":"2026-01-02T03:04:05Z",
    "labels":{"a":"b","service.kubernetes.io/service-proxy-name":"other"}},
    "spec":{"type":"LoadBalancer","clusterIPs":["10.0.0.1","fd00::1"],
    "ports":[{"name":"a","port":80,"nodePort":30080},
             {"name":"b","protocol":"UDP","port":53,"targetPort":"dns"}],
    "externalIPs":["192.0.2.1"],
    "loadBalancerSourceRanges":[" 198.51.100.7/24 "],
    "sessionAffinity":"ClientIP",
    "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
    "internalTrafficPolicy":"Local","externalTrafficPolicy":"Local",
    "healthCheckNodePort":31000},
    "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1"},
      {"ip":"203.0.113.2","ipMode":"Proxy"},{"hostname":"x"},
      {"ip":"203.0.113.3","ipMode":"VIP"}]}})"), "");
  EXPECT_EQ(AgreeService(R"("metadata":{"name":"w"},
    "spec":{"clusterIP":"None","sessionAffinity":"ClientIP"})"), "");
  EXPECT_EQ(AgreeService(R"("metadata":{"name":"w"},
    "spec":{"clusterIP":"10.0.0.1","type":"ExternalName"})"), "");
  EXPECT_EQ(AgreeSlice(R"("metadata":{"name":"s","namespace":"d",
    "labels":{"kubernetes.io/service-name":"w"},"annotations":{
    "endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"}},
    "addressType":"IPv4","ports":[{"name":"","port":8080},{"port":1},
      {"name":"u","protocol":"UDP","port":53},{"name":"none"}],
    "endpoints":[{"addresses":["10.1.0.1"],"nodeName":"n1","zone":"z",
       "targetRef":{"kind":"Pod","name":"p"},
       "hints":{"forZones":[{"name":"z"}],"forNodes":[{"name":"n1"}]}},
      {"addresses":["10.1.0.2"],"conditions":{"ready":false,"serving":true,
       "terminating":true}},
      {"addresses":["10.1.0.3"],"conditions":{"serving":false}}])"), "");
  EXPECT_EQ(AgreeSlice(R"("metadata":{"name":"s"},"addressType":"FQDN",
    "endpoints":[{"addresses":["a.example"]}])"), "");
  EXPECT_EQ(AgreeNode(R"("metadata":{"name":"n",
    "labels":{"topology.kubernetes.io/zone":"z"},
    "deletionTimestamp":"2026-01-01T00:00:00Z"},
    "spec":{"podCIDR":"10.2.0.0/24","podCIDRs":["10.2.0.0/24","fd00:2::/64"],
      "taints":[{"key":"a","effect":"NoSchedule"}]},
    "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.9"},
      {"type":"Hostname","address":"n"}]})"), "");
  EXPECT_EQ(AgreeNode(R"("metadata":{"name":"n"},
    "spec":{"podCIDR":"10.2.0.0/24"})"), "");
}

TEST_F(BothEncodings, TheSameErrors) {
  const std::string name = R"("metadata":{"namespace":"d","name":"w"},)";
  EXPECT_THAT(AgreeService(R"("metadata":{})"),
              HasSubstr("metadata.name: missing"));
  EXPECT_THAT(AgreeService(name + R"("spec":{"ports":[{"port":70000}]})"),
              HasSubstr("d/w: spec.ports[0].port: out of range"));
  EXPECT_THAT(AgreeService(name + R"("spec":{"ports":[{"name":"a"}]})"),
              HasSubstr("spec.ports[0].port: missing"));
  EXPECT_THAT(AgreeService(name + R"("spec":{"clusterIPs":["10.0.0"]})"),
              HasSubstr("spec.clusterIPs"));
  EXPECT_THAT(AgreeService(name + R"("spec":{"externalIPs":["x"]})"),
              HasSubstr("spec.externalIPs"));
  EXPECT_THAT(AgreeService(name + R"("spec":{"type":"Odd"})"),
              HasSubstr("spec.type: unknown"));
  EXPECT_THAT(
      AgreeService(name + R"("spec":{"ports":[{"port":1,"protocol":"X"}]})"),
      HasSubstr("spec.ports[0].protocol: unknown"));
  EXPECT_THAT(
      AgreeService(name + R"("spec":{"loadBalancerSourceRanges":["1.2"]})"),
      HasSubstr("spec.loadBalancerSourceRanges"));
  EXPECT_THAT(AgreeService(name + R"("spec":{"healthCheckNodePort":-1})"),
              HasSubstr("spec.healthCheckNodePort: out of range"));
  EXPECT_THAT(AgreeSlice(name + R"("addressType":"IPv7")"),
              HasSubstr("addressType: unknown"));
  EXPECT_THAT(AgreeSlice(name + R"("addressType":"IPv4",
                                   "endpoints":[{"addresses":["fd00::1"]}])"),
              HasSubstr("endpoints[0].addresses[0]: not of the slice's"));
  EXPECT_THAT(AgreeSlice(name + R"("addressType":"IPv4",
                                   "endpoints":[{"addresses":[]}])"),
              HasSubstr("endpoints[0].addresses: missing"));
  EXPECT_THAT(AgreeNode(name + R"("spec":{"podCIDRs":["x"]})"),
              HasSubstr("spec.podCIDRs"));
}

TEST_F(BothEncodings, NamesForWhatCantBeDecoded) {
  const std::string bad = Message(
      R"({"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1",
          "metadata":{"name":"s","namespace":"d",
                      "labels":{"kubernetes.io/service-name":"w"}},
          "addressType":"IPv7"})");
  const EncodedObject object{Encoding::kProtobuf, bad};
  EXPECT_FALSE(DecodeEndpointSlice(object).ok());
  ASSERT_TRUE(DecodeMeta(object).ok());
  EXPECT_EQ(DecodeMeta(object)->name, "s");
  EXPECT_EQ(EndpointSliceServiceName(object), "w");
}

// ---- bad bytes ----

TEST(ProtobufPages, CutOff) {
  const std::string whole = TestFile("services_page1.pb");
  auto ignore = [](std::string_view) {};
  // Behind the list itself there are only two empty fields of two bytes.
  for (size_t length = 0; length < whole.size() - 4; ++length) {
    auto page = DecodeProtobufListPage(
        std::string_view(whole).substr(0, length), ignore);
    ASSERT_FALSE(page.ok()) << length;
  }
}

TEST(ProtobufObjects, CutOff) {
  size_t seen = 0;
  ASSERT_TRUE(DecodeProtobufListPage(
      TestFile("services_page1.pb"), [&](std::string_view item) {
        ++seen;
        for (size_t length = 1; length < item.size(); ++length) {
          auto service = DecodeService(
              EncodedObject{Encoding::kProtobuf, item.substr(0, length)});
          if (!service.ok()) continue;
          // Only where a field of the object ends.
          EXPECT_NE(service->meta.name, "");
        }
      }).ok());
  EXPECT_EQ(seen, 7u);
}

TEST(ProtobufSplitter, WhereTheBytesAreCutDoesNotMatter) {
  const std::string stream = TestFile("services_watch.pb");
  auto split = [&](size_t piece) {
    ProtobufSplitter splitter;
    std::vector<std::string> frames;
    for (size_t i = 0; i < stream.size(); i += piece) {
      EXPECT_TRUE(splitter.Feed(std::string_view(stream).substr(i, piece),
                                [&](std::string_view frame) {
                                  frames.emplace_back(frame);
                                  return true;
                                }).ok());
    }
    EXPECT_FALSE(splitter.partial());
    return frames;
  };
  const std::vector<std::string> whole = split(stream.size());
  EXPECT_THAT(whole, SizeIs(21));
  for (size_t piece : {1, 2, 3, 5, 100, 1009}) EXPECT_EQ(split(piece), whole);
}

TEST(ProtobufSplitter, AnAbsurdLengthIsAnError) {
  ProtobufSplitter splitter;
  absl::Status status =
      splitter.Feed("<html>", [](std::string_view) { return true; });
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(BothEncodings, ErrorsOfTheServer) {
  const std::string json =
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
          "message":"too many","reason":"Busy","code":429,
          "details":{"retryAfterSeconds":7}})";
  auto protobuf = objects_.Encode(Json::parse(json));
  ASSERT_TRUE(protobuf.has_value());
  // 0: as an ERROR event of a watch, where only the body says.
  for (int code : {0, 429}) {
    for (const std::string& body : {json, *protobuf}) {
      absl::Status status = StatusFromResponse({.status = code, .body = body});
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      EXPECT_EQ(status.message(), "too many");
      EXPECT_EQ(ApiErrorOf(status)->http_status, 429);
      EXPECT_EQ(ApiErrorOf(status)->reason, "Busy");
      EXPECT_EQ(ApiErrorOf(status)->retry_after, absl::Seconds(7));
    }
  }
}

// ---- the reflector ----

class ServiceStore : public ReflectorSink {
 public:
  std::map<std::string, Service> services;
  std::vector<std::string> ignored;
  std::vector<std::string> errors;
  int lists = 0, aborted = 0;

  void ReplaceBegin() override { listed_.clear(); }
  void OnListed(const EncodedObject& object) override { Put(object, &listed_); }
  void ReplaceEnd(std::string_view) override {
    ++lists;
    services = std::move(listed_);
  }
  void ReplaceAbort() override { ++aborted; }
  void OnEvent(WatchEvent event, const EncodedObject& object) override {
    if (event != WatchEvent::kDeleted) return Put(object, &services);
    auto meta = DecodeMeta(object);
    ASSERT_TRUE(meta.ok());
    services.erase(meta->name);
  }
  void OnState(const absl::Status& status) override {
    if (!status.ok()) errors.emplace_back(status.message());
  }
  void OnIgnored(std::string_view why) override { ignored.emplace_back(why); }

 private:
  void Put(const EncodedObject& object, std::map<std::string, Service>* to) {
    auto service = DecodeService(object);
    ASSERT_TRUE(service.ok()) << service.status();
    (*to)[service->meta.name] = *service;
  }
  std::map<std::string, Service> listed_;
};

const Headers kProtobuf = {
    {"content-type", "application/vnd.kubernetes.protobuf;stream=watch"}};
const Headers kJson = {{"content-type", "application/json"}};

class ProtobufReflectorTest : public ::testing::Test {
 protected:
  ProtobufReflectorTest() : transport_(&loop_) {
    options_.resource = Services();
    options_.min_backoff = absl::Milliseconds(1);
    options_.max_backoff = absl::Milliseconds(5);
    options_.protobuf = true;
  }
  // Runs until the answers are used up and what was played is delivered.
  void Play(std::deque<Answer> answers) {
    transport_.answers = std::move(answers);
    transport_.on_exhausted = [this] { loop_.Post([this] { loop_.Stop(); }); };
    Timer guard = loop_.After(absl::Seconds(30), [this] {
      ADD_FAILURE() << "the answers were not asked for";
      loop_.Stop();
    });
    reflector_ = std::make_unique<Reflector>(&loop_, &transport_, options_,
                                             &store_);
    reflector_->Start();
    loop_.Run();
  }
  std::string Target(size_t i) { return transport_.requests.at(i).target; }
  std::string Accept(size_t i) {
    return transport_.requests.at(i).headers.at(0).second;
  }

  EventLoop loop_;
  PlayedTransport transport_;
  ReflectorOptions options_;
  ServiceStore store_;
  std::unique_ptr<Reflector> reflector_;
};

TEST_F(ProtobufReflectorTest, PagesAndWatchAsInJson) {
  Play({{.body = TestFile("services_page1.json")},
        {.body = TestFile("services_page2.json")},
        {.body = TestFile("services_page3.json")},
        {.body = TestFile("services_watch.jsonl")}});
  const std::map<std::string, Service> in_json = store_.services;
  ASSERT_THAT(in_json, SizeIs(21));
  for (size_t piece : {1, 17, 1 << 20}) {
    store_ = ServiceStore();
    Play({{.body = TestFile("services_page1.pb"), .headers = kProtobuf},
          {.body = TestFile("services_page2.pb"), .headers = kProtobuf},
          {.body = TestFile("services_page3.pb"), .headers = kProtobuf},
          {.body = TestFile("services_watch.pb"), .piece = piece,
           .headers = kProtobuf}});
    EXPECT_TRUE(store_.services == in_json) << piece;
    EXPECT_EQ(reflector_->stats().events, 18u);
    EXPECT_THAT(store_.errors, IsEmpty());
  }
  EXPECT_EQ(Accept(0),
            "application/vnd.kubernetes.protobuf, application/json");
}

TEST_F(ProtobufReflectorTest, StreamedListBecomesTheWatch) {
  options_.streamed_list = true;
  for (bool protobuf : {false, true}) {
    const char* name =
        protobuf ? "services_streamed.pb" : "services_streamed.jsonl";
    const Headers& headers = protobuf ? kProtobuf : kJson;
    for (size_t piece : {1, 33, 1 << 20}) {
      store_ = ServiceStore();
      transport_.requests.clear();
      Play({{.body = TestFile(name), .piece = piece, .headers = headers}});
      EXPECT_THAT(store_.services, SizeIs(21)) << name;
      EXPECT_EQ(store_.lists, 1);
      EXPECT_EQ(store_.aborted, 0);
      EXPECT_THAT(Target(0), HasSubstr("sendInitialEvents=true&"
                                       "resourceVersionMatch=NotOlderThan"));
      // Resumes from the bookmark that ended the list.
      EXPECT_THAT(Target(1), HasSubstr(protobuf ? "&resourceVersion=2900&"
                                              : "&resourceVersion=2889&"));
      EXPECT_THAT(Target(1), Not(HasSubstr("sendInitialEvents")));
    }
  }
}

std::string Event(const std::string& type, const std::string& name,
                  int version, const std::string& more = "") {
  return StrCat(R"({"type":")", type,
                R"(","object":{"kind":"Service","metadata":{"name":")", name,
                R"(","resourceVersion":")", version, "\"", more, "}}}\n");
}

std::string End(int version) {
  return Event("BOOKMARK", "", version,
               R"(,"annotations":{"k8s.io/initial-events-end":"true"})");
}

std::vector<std::string> Names(const ServiceStore& store) {
  std::vector<std::string> names;
  for (const auto& [name, service] : store.services) names.push_back(name);
  return names;
}

TEST_F(ProtobufReflectorTest, ChangesWhileTheListIsStreamed) {
  options_.streamed_list = true;
  Play({{.body = Event("ADDED", "a", 3) + Event("ADDED", "b", 1) +
                 Event("DELETED", "a", 8) + Event("ADDED", "c", 9) +
                 Event("DELETED", "c", 10) + Event("ADDED", "a", 11) +
                 End(12) + Event("ADDED", "e", 13)}});
  EXPECT_THAT(Names(store_), ElementsAre("a", "b", "e"));
  EXPECT_EQ(reflector_->resource_version(), "13");
}

TEST_F(ProtobufReflectorTest, AStreamedListThatBreaksChangesNothing) {
  options_.streamed_list = true;
  options_.stall_timeout = absl::Milliseconds(20);
  Play({{.body = Event("ADDED", "a", 1) + End(2)},
        {.status = 410},
        {.body = Event("ADDED", "x", 3), .headers = kJson},  // ends early
        {.status = 503},
        {.body = "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}"}});
  EXPECT_EQ(store_.aborted, 1);
  EXPECT_THAT(Names(store_), IsEmpty());
  EXPECT_EQ(store_.lists, 2);
  // Not streamed again by a server that seems unable to.
  EXPECT_THAT(Target(3), HasSubstr("limit="));
}

TEST_F(ProtobufReflectorTest, AStreamedListWithoutAnEndBecomesPages) {
  options_.streamed_list = true;
  options_.list_end_timeout = absl::Milliseconds(20);
  Play({{.body = Event("ADDED", "a", 1), .hang = true},
        {.body = R"({"metadata":{"resourceVersion":"5"},"items":[]})"}});
  EXPECT_THAT(Target(1), HasSubstr("limit="));
  EXPECT_THAT(store_.errors, ElementsAre(HasSubstr("doesn't end")));
  EXPECT_EQ(store_.aborted, 1);
}

TEST_F(ProtobufReflectorTest, AServerWithoutStreamedListsGetsPagesAtOnce) {
  options_.streamed_list = true;
  Play({{.status = 422},
        {.body = TestFile("services_page3.pb"), .headers = kProtobuf}});
  EXPECT_THAT(Target(1), HasSubstr("limit="));
  EXPECT_THAT(store_.services, SizeIs(7));
  EXPECT_THAT(store_.errors, IsEmpty());
}

TEST_F(ProtobufReflectorTest, AStallInTheMiddleOfAnObjectEndsTheWatch) {
  options_.stall_timeout = absl::Milliseconds(20);
  std::string half = TestFile("services_watch.pb").substr(0, 300);
  Play({{.body = TestFile("services_page3.pb"), .headers = kProtobuf},
        {.body = half, .hang = true, .headers = kProtobuf}});
  EXPECT_THAT(store_.errors, ElementsAre(HasSubstr("stalled in the middle")));
  EXPECT_THAT(store_.services, SizeIs(7));
  EXPECT_THAT(Target(2), HasSubstr("watch=true"));
}

TEST_F(ProtobufReflectorTest, RefusedProtobufIsAskedForNoMore) {
  for (int refusal : {406, 415}) {
    for (bool streamed : {false, true}) {
      options_.streamed_list = streamed;
      transport_.requests.clear();
      store_ = ServiceStore();
      Play({{.status = refusal},
            {.body = streamed ? Event("ADDED", "a", 1) + End(2)
                              : TestFile("services_page3.json"),
             .headers = kJson}});
      EXPECT_THAT(Accept(0), HasSubstr("protobuf"));
      EXPECT_EQ(Accept(1), "application/json");
      EXPECT_EQ(Accept(2), "application/json");
      EXPECT_EQ(store_.lists, 1);
      EXPECT_THAT(store_.errors, IsEmpty());
    }
  }
}

TEST_F(ProtobufReflectorTest, AWrongContentTypeIsSaid) {
  const Headers html = {{"Content-Type", "text/html; charset=utf-8"}};
  Play({{.body = "<html>", .headers = html},
        {.body = TestFile("services_page3.pb"), .headers = kProtobuf},
        {.body = "<html>", .headers = html},
        {.body = TestFile("services_watch.pb"), .headers = kProtobuf}});
  EXPECT_THAT(store_.errors,
              ElementsAre(HasSubstr("text/html"), HasSubstr("text/html")));
  EXPECT_EQ(reflector_->stats().events, 18u);
}

TEST_F(ProtobufReflectorTest, CorruptFramesAreSurvived) {
  std::string corrupt = TestFile("services_watch.pb");
  corrupt[40] = '\xff';  // a length within the first frame
  Play({{.body = TestFile("services_page3.pb"), .headers = kProtobuf},
        {.body = corrupt, .headers = kProtobuf},
        {.body = "<html><head>", .headers = kProtobuf},
        // Twice at one version: listed past.
        {.body = TestFile("services_page3.pb"), .headers = kProtobuf},
        {.body = TestFile("services_watch.pb"), .headers = kProtobuf}});
  EXPECT_THAT(store_.errors, ElementsAre(HasSubstr("cut off or corrupt"),
                                         HasSubstr("not protobuf")));
  EXPECT_EQ(reflector_->stats().events, 18u);
}

TEST_F(ProtobufReflectorTest, EventsThatDoNotBelongHereAreLeftOut) {
  Play({{.body = R"({"metadata":{"resourceVersion":"5"},"items":[]})"},
        {.body = Event("ADDED", "a", 6) + Event("ADDED", "a", 6) +  // repeated
                 Event("DELETED", "a", 5) +                         // late
                 Event("RENAMED", "b", 7) +
                 R"({"type":"ADDED","object":{"kind":"Pod","metadata":)"
                 R"({"name":"p","resourceVersion":"8"}}})" +
                 Event("ADDED", "c", 9)}});
  EXPECT_THAT(Names(store_), ElementsAre("a", "c"));
  EXPECT_THAT(store_.ignored,
              ElementsAre(HasSubstr("version 5 came after version 6"),
                          HasSubstr("RENAMED"),
                          HasSubstr("kind Pod among services")));
  EXPECT_EQ(reflector_->stats().ignored, 3u);
  EXPECT_EQ(reflector_->resource_version(), "9");
}

}  // namespace
}  // namespace fairlead::kube
