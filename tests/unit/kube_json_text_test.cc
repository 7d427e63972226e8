// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace fairlead::kube {
namespace {

using Json = nlohmann::json;

TEST(JsonTextTest, ReadsWhatTheOtherReaderReads) {
  for (const std::string& text : {
           std::string(R"({"a":1,"b":[-1,2.5,1e3,-0.0,true,false,null,"x"]})"),
           std::string(R"({"u":18446744073709551615,"i":-9223372036854775808})"),
           std::string(R"({"too large":18446744073709551616})"),
           std::string(R"({"s":"\u0041\ud83d\ude00\n\"\\","":{"":[]}})"),
           std::string("  [ ] "), std::string("7"), std::string("\"x\""),
           std::string(""), std::string("{"), std::string("{} {}"),
           std::string("{\"a\":1,}"), std::string("nul"), std::string("1e999"),
           std::string("\"\\ud800\""), std::string("\"\xff\""),
           std::string("\"a\nb\""), std::string("{\"a\":\"b\"\0}", 10),
           std::string(500, '['),
           std::string(500, '[') + std::string(500, ']'),
           "\"" + std::string(1 << 20, 'x') + "\""}) {
    const Json got = JsonFromText(text);
    const Json want = Json::parse(text, nullptr, false);
    EXPECT_EQ(got.is_discarded(), want.is_discarded()) << text.substr(0, 80);
    if (want.is_discarded()) continue;
    EXPECT_EQ(got, want) << text.substr(0, 80);
    EXPECT_EQ(got.dump(), want.dump());
  }
  // The kind of number decides what code takes it for.
  const Json numbers = JsonFromText("[0,-1,0.0,9223372036854775808]");
  EXPECT_TRUE(numbers[0].is_number_unsigned());
  EXPECT_FALSE(numbers[1].is_number_unsigned());
  EXPECT_TRUE(numbers[1].is_number_integer());
  EXPECT_TRUE(numbers[2].is_number_float());
  EXPECT_TRUE(numbers[3].is_number_unsigned());
}

TEST(JsonTextTest, WritesWhatTheOtherWriterWrites) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  for (const Json& json : {
           Json(), Json(true), Json(false), Json(0), Json(-7), Json(2.5),
           Json(1e300), Json(-0.0), Json(INT64_MIN), Json(UINT64_MAX),
           Json(""), Json(all), Json(all.substr(0, 0x80)), Json("\xc3\xa4\n"),
           Json("\xff\"\xc3"), Json::array(), Json::object(),
           Json::array({Json::array(), Json::object(), nullptr, "\\\"/\b"}),
           Json::parse(R"({"":{"k:{\"port\":80}":{}},"a":[1,[2,{"b":"\u001f"}]],
                           "\u00e4\n":null,"metadata":{"labels":{"a":"b"}}})"),
           Json(Json::value_t::discarded)}) {
    EXPECT_EQ(TextFromJson(json),
              json.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
}

TEST(JsonTextTest, TellsOfKeysThatAreThereTwice) {
  bool repeats = true;
  EXPECT_EQ(JsonFromText(R"({"a":{"b":1},"b":[{"a":1},{"a":2}]})", &repeats)
                .size(), 2u);
  EXPECT_FALSE(repeats);
  for (const char* text : {R"({"a":1,"a":2})", R"([{"b":{"a":1,"c":0,"a":2}}])",
                           R"({"a":1,"\u0061":2})", "{"}) {
    repeats = false;
    JsonFromText(text, &repeats);
    EXPECT_TRUE(repeats) << text;
  }
  EXPECT_EQ(JsonFromText(R"({"a":1,"a":2})")["a"], 2);
}

TEST(JsonTextTest, AnOutlineHasWhatSelectsAnObject) {
  EXPECT_EQ(OutlineFromText(R"({"kind":"Pod","metadata":{"name":"p",
                "labels":{"a":"b"},"annotations":{"c":"d"},
                "ownerReferences":[{"uid":"u"}]},
                "spec":{"nodeName":"n","containers":[{"name":"c"}],
                "hostNetwork":true,"nodeSelector":{"x":"y"}},
                "status":{"phase":"Running","podIP":"192.0.2.1"},
                "items":[1],"type":"Opaque","none":null})"),
            Json::parse(R"({"kind":"Pod","metadata":{"name":"p",
                "labels":{"a":"b"}},"spec":{"nodeName":"n","hostNetwork":true},
                "status":{"phase":"Running","podIP":"192.0.2.1"},
                "type":"Opaque","none":null})"));
  for (const char* text : {"", "[]", "1", "{", "{\"a\":\"\xff\"}"}) {
    EXPECT_TRUE(OutlineFromText(text).is_discarded()) << text;
  }
}

}  // namespace
}  // namespace fairlead::kube
