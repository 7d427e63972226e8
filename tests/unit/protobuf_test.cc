// SPDX-License-Identifier: Apache-2.0
// Protobuf bodies against those that a stock API server and kubectl sent.
#include "control/api/protobuf.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/escaping.h"
#include "control/api/api_status.h"
#include "control/api/field_validation.h"
#include "control/api/json_access.h"
#include "control/api/kinds.h"
#include "control/api/normalize.h"
#include "control/api/protobuf_object.h"
#include "control/api/schema_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/api_testdata.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using ::testing::HasSubstr;

std::string Bytes(const Json& base64) {
  std::string out;
  EXPECT_TRUE(absl::Base64Unescape(base64.get<std::string>(), &out));
  return out;
}

std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(Absl(bytes));
}

// "0a0161" -> the bytes.
std::string FromHex(std::string_view hex) {
  return absl::HexStringToBytes(Absl(hex));
}

class ProtobufTest : public ::testing::Test {
 protected:
  const Type& TypeNamed(std::string_view name) {
    return *kinds_.schemas()->Find(name);
  }
  std::string ReadError(std::string_view type, std::string_view hex) {
    auto read = ReadMessage(TypeNamed(type), FromHex(hex));
    return read.ok() ? "" : std::string(read.status().message());
  }

  KindTable kinds_ = MakeKindTable();
  ProtobufObjects objects_{&kinds_};
  Json testdata_ = ReadTestdata("protobuf.json");
};

// The same objects and lists, asked for in both forms.
TEST_F(ProtobufTest, JsonBecomesTheRecordedBytes) {
  ASSERT_EQ(testdata_["pairs"].size(), 5u);
  for (const Json& pair : testdata_["pairs"]) {
    auto encoded = objects_.Encode(pair["json"]);
    ASSERT_TRUE(encoded.has_value()) << pair["name"];
    EXPECT_EQ(Hex(*encoded), Hex(Bytes(pair["protobuf"]))) << pair["name"];
  }
}

// What kubectl posts and what it is answered: nothing is lost on the way to
// JSON and back.
TEST_F(ProtobufTest, RecordedBodiesComeBackAsTheyWere) {
  ASSERT_GE(testdata_["bodies"].size(), 20u);
  for (const Json& body : testdata_["bodies"]) {
    std::string bytes = Bytes(body["protobuf"]);
    auto object = objects_.Decode(bytes, "X");
    ASSERT_TRUE(object.ok()) << body["name"] << ": " << object.status();
    EXPECT_EQ(Hex(objects_.Encode(*object).value_or("")), Hex(bytes))
        << body["name"] << ": " << object->dump(1);
  }
}

// Every object of the other recordings, all kinds, through both ways.
TEST_F(ProtobufTest, JsonSurvivesTheRoundTrip) {
  size_t seen = 0;
  std::function<void(const Json&)> visit = [&](const Json& value) {
    if (!value.is_structured()) return;
    const Type* type = value.is_object()
                           ? objects_.TypeOf(Text(value, "apiVersion"),
                                             Text(value, "kind"))
                           : nullptr;
    if (type == nullptr || !value.contains("metadata")) {
      for (const Json& inner : value) visit(inner);
      return;
    }
    ++seen;
    Json object = value;
    std::vector<std::string> problems;
    if (!ConformToSchema(type, object, &problems).ok()) return;
    // As it is stored.
    const Kind* kind = kinds_.FindByKind(Text(value, "apiVersion"),
                                         Text(value, "kind"));
    if (kind != nullptr) kind->set_defaults(object);
    BackwardWriter out;
    WriteMessage(*type, object, &out);
    auto read = ReadMessage(*type, std::move(out).Take());
    ASSERT_TRUE(read.ok()) << read.status();
    for (const char* outside : {"kind", "apiVersion"}) object.erase(outside);
    Normalize(*type, object);
    Normalize(*type, *read);
    EXPECT_EQ(*read, object);
  };
  for (const char* file : {"writes.json", "tables.json", "protobuf.json"}) {
    visit(ReadTestdata(file));
  }
  EXPECT_GE(seen, 40u);
}

// A field without a number is lost in protobuf: only these may be, alpha
// fields whose number could not be confirmed.
TEST_F(ProtobufTest, FieldsWithoutANumberAreKnown) {
  std::set<std::string> without;
  std::set<const Type*> seen;
  std::function<void(const Type&, bool)> visit = [&](const Type& type,
                                                     bool whole_object) {
    if (!seen.insert(&type).second) return;
    if (type.element != nullptr) visit(*type.element, false);
    for (const Field& field : type.fields) {
      bool in_envelope = field.name == "kind" || field.name == "apiVersion";
      if (field.number != 0) {
        visit(*field.type, false);
      } else if (!(whole_object && in_envelope)) {
        without.insert(StrCat(type.name.substr(type.name.rfind('.') + 1), ".",
                              field.name));
      }
    }
  };
  for (const Kind& kind : kinds_.kinds()) {
    // What is in JSON only has no numbers at all.
    if (HasProtobuf(kind)) visit(*kind.schema, true);
  }
  EXPECT_THAT(without,
              testing::ElementsAre(
                  "NodeStatus.declaredFeatures",
                  "PodCertificateProjection.userAnnotations",
                  "PodSpec.schedulingGroup", "PodStatus.allocatedResources",
                  "PodStatus.extendedResourceClaimStatus",
                  "PodStatus.nodeAllocatableResourceClaimStatuses",
                  "PodStatus.resources", "ResourceHealth.message"));
}

TEST_F(ProtobufTest, WatchFramesAreTheRecordedOnes) {
  ASSERT_EQ(testdata_["watch"].size(), 4u);
  for (const Json& event : testdata_["watch"]) {
    std::string frame = Bytes(event["frame"]);
    // Length, type, and the object's envelope inside two messages.
    std::string envelope = frame.substr(frame.find("k8s"));
    auto object = objects_.Decode(envelope, "Service");
    ASSERT_TRUE(object.ok()) << object.status();
    EXPECT_EQ(Hex(objects_.WatchFrame(event["type"].get<std::string>(),
                                      *object)),
              Hex(frame))
        << event["type"];
  }
}

TEST_F(ProtobufTest, ShapesThatAreMessagesOfTheirOwn) {
  const Type& port = TypeNamed("io.k8s.api.core.v1.ServicePort");
  auto read = ReadMessage(port, FromHex("1807220608001050" "1a00"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, (Json{{"port", 7}, {"targetPort", 80}}));
  read = ReadMessage(port, FromHex("2209080110001a036162" "63"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ((*read)["targetPort"], "abc");
  // A negative number is ten bytes.
  read = ReadMessage(port, FromHex("18ffffffffffffffffff01"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ((*read)["port"], -1);
  BackwardWriter out;
  WriteMessage(port, Json{{"port", -1}}, &out);
  EXPECT_THAT(Hex(std::move(out).Take()), HasSubstr("18ffffffffffffffffff01"));
}

TEST_F(ProtobufTest, FieldsOfAnEmbeddedMessage) {
  const Type& probe = TypeNamed("io.k8s.api.core.v1.Probe");
  Json json = {{"tcpSocket", {{"port", 80}}}, {"periodSeconds", 5}};
  BackwardWriter out;
  WriteMessage(probe, json, &out);
  std::string bytes = std::move(out).Take();
  // handler (1) { tcpSocket (3) { port (1) {...}, host (2) } }
  EXPECT_THAT(Hex(bytes), HasSubstr("0a0c1a0a0a06080010501a001200"));
  auto read = ReadMessage(probe, bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, json);
}

TEST_F(ProtobufTest, BadBytesAreErrors) {
  constexpr char kPort[] = "io.k8s.api.core.v1.ServicePort";
  EXPECT_EQ(ReadError(kPort, "0a05"), "unexpected EOF");
  EXPECT_EQ(ReadError(kPort, "18"), "unexpected EOF");
  EXPECT_EQ(ReadError(kPort, "18ff"), "unexpected EOF");
  EXPECT_EQ(ReadError(kPort, "18ffffffffffffffffffff01"),
            "proto: integer overflow");
  EXPECT_EQ(ReadError(kPort, "0affffffffffffffffff01"),
            "proto: negative length found during unmarshaling");
  EXPECT_EQ(ReadError(kPort, "0800"),
            "proto: wrong wireType = 0 for field Name");
  EXPECT_EQ(ReadError(kPort, "0000"),
            "proto: ServicePort: illegal tag 0 (wire type 0)");
  EXPECT_EQ(ReadError(kPort, "0c"),
            "proto: ServicePort: wiretype end group for non-group");
  EXPECT_EQ(ReadError(kPort, "0b"), "proto: illegal wireType 3");
  EXPECT_EQ(ReadError(kPort, "0a02c328"),
            "proto: field name contains invalid UTF-8");
  EXPECT_EQ(ReadError(kPort, "22020805"), "impossible IntOrString.Type");
  EXPECT_THAT(ReadError("io.k8s.api.core.v1.ContainerStateRunning",
                        "0a0a08ffffffffffffffff7f"),
              HasSubstr("outside of the years"));
  // Unknown fields of every wire type are skipped.
  EXPECT_EQ(ReadError(kPort, "a80601a20601aaad0600000000a1060000000000000000"),
            "");
}

TEST_F(ProtobufTest, BadBodiesInTheWordsOfTheApi) {
  auto error = [&](std::string_view body) {
    auto object = objects_.Decode(body, "Service");
    return object.ok() ? "" : ApiStatusOf(object.status()).message;
  };
  // As recorded.
  EXPECT_EQ(error(FromHex("0001")),
            "the object provided is unrecognized (must be of type Service): "
            "provided data does not appear to be a protobuf message, expected "
            "prefix [107 56 115 0] (0001)");
  EXPECT_THAT(error(FromHex("6b387300")), HasSubstr("empty body"));
  EXPECT_THAT(error(FromHex("6b3873000a05")), HasSubstr("unexpected EOF"));
  auto envelope = [](std::string_view kind, std::string_view raw) {
    BackwardWriter out;
    out.Bytes(2, raw);
    BackwardWriter meta;
    meta.Bytes(2, kind);
    meta.Bytes(1, "v1");
    out.Bytes(1, std::move(meta).Take());
    out.Raw(std::string_view("k8s\0", 4));
    return std::move(out).Take();
  };
  EXPECT_EQ(error(envelope("Service", FromHex("0a05"))),
            "Service in version \"v1\" cannot be handled as a Service: "
            "unexpected EOF");
  EXPECT_THAT(error(envelope("Nope", "")),
              HasSubstr("no kind \"Nope\" is registered for version \"v1\""));
  EXPECT_EQ(error(envelope("Service", "")), "");
}

}  // namespace
}  // namespace fairlead::api
