// SPDX-License-Identifier: Apache-2.0
// A controller as a process, and what a client may send it by mistake or on
// purpose: bodies, heads, watches that nobody reads, requests that never end.
// The words are those of recorded answers where there are such
// (errors/malformed-json, request-too-large, unknown-field), else those of Go's
// decoder. docs/design/api-server.md: where ours are different.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/netns/controller_process.h"
#include "tests/netns/http_socket.h"

namespace fairlead {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kConfigMaps[] = "/api/v1/namespaces/default/configmaps";
constexpr char kJson[] = "application/json";
constexpr char kYaml[] = "application/yaml";

std::string Repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// A ConfigMap's start; `rest` is what follows its name.
std::string Named(const std::string& name, const std::string& rest) {
  return absl::StrCat(R"({"metadata":{"name":")", name, "\"", rest);
}

std::string Labels(int count) {
  std::string out = ",\"labels\":{";
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&out, i == 0 ? "" : ",", "\"label-", 1'000'000 + i,
                    "\":\"v\"");
  }
  return out + "}}}";
}

class HostileTest : public testing::Test {
 protected:
  void SetUp() override { controller_.Start(); }
  void TearDown() override {
    EXPECT_EQ(controller_.Terminate(), 0) << controller_.Log();
  }

  std::string Ask(const std::string& method, const std::string& target,
                  const std::string& type, const std::string& body) {
    HttpSocket client(controller_.url());
    // The server may answer, and end, before it has read all of it.
    client.Send(absl::StrCat(method, " ", target,
                             " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                             "Content-Type: ", type,
                             "\r\nContent-Length: ", body.size(), "\r\n\r\n"));
    client.Send(body);
    return client.Read();
  }
  static int StatusOf(const std::string& answer) {
    int status = 0;
    if (answer.size() < 12) return 0;
    return absl::SimpleAtoi(answer.substr(9, 3), &status) ? status : 0;
  }
  static std::string BodyOf(const std::string& answer) {
    const size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? "" : answer.substr(end + 4);
  }
  static Json JsonOf(const std::string& answer) {
    return Json::parse(BodyOf(answer), nullptr, false);
  }
  int64_t Metric(const std::string& name) {
    return MetricOf(controller_.url(), name);
  }
  // Others are served, and soon.
  void ExpectServing(const std::string& during) {
    const absl::Time begin = absl::Now();
    EXPECT_THAT(GetPage(controller_.url(), "/readyz"),
                StartsWith("HTTP/1.1 200")) << during;
    EXPECT_LT(absl::Now() - begin, absl::Seconds(1)) << during;
  }

  ControllerProcess controller_;
};

TEST_F(HostileTest, BodiesAreRefusedInWordsOrTakenAsGoTakesThem) {
  const std::string unrecognized =
      "the object provided is unrecognized (must be of type ConfigMap): "
      "couldn't get version/kind; json parse error: ";
  struct Row {
    const char* name;
    const char* method;
    std::string target;
    const char* type;
    std::string body;
    int status;
    std::string says;  // in the answer's message, or anywhere in it
  };
  const std::string mine = absl::StrCat(kConfigMaps, "/mine");
  ASSERT_EQ(StatusOf(Ask("POST", kConfigMaps, kJson, Named("mine", "}}"))), 201);
  const Row rows[] = {
      {"deep arrays", "POST", kConfigMaps, kJson,
       Named("a", "},\"a\":") + Repeat("[", 100'000), 400,
       unrecognized + "exceeded max depth"},
      {"deep arrays, closed", "POST", kConfigMaps, kJson,
       Named("a", "},\"a\":") + Repeat("[", 100'000) + Repeat("]", 100'000) +
           "}",
       400, unrecognized + "exceeded max depth"},
      {"deep objects", "POST", kConfigMaps, kJson,
       Repeat("{\"a\":", 100'000) + "1" + Repeat("}", 100'000), 400,
       unrecognized + "exceeded max depth"},
      {"deep merge patch", "PATCH", mine, "application/merge-patch+json",
       Repeat("{\"a\":", 100'000) + "1" + Repeat("}", 100'000), 400,
       "exceeded max depth"},
      {"deep strategic patch", "PATCH", mine,
       "application/strategic-merge-patch+json",
       Repeat("{\"a\":", 100'000) + "1" + Repeat("}", 100'000), 400,
       "exceeded max depth"},
      {"deep YAML", "POST", kConfigMaps, kYaml, "a: " + Repeat("[", 100'000),
       400, "error decoding YAML"},
      {"deep YAML in an apply", "PATCH",
       mine + "?fieldManager=x&force=true", "application/apply-patch+yaml",
       "a: " + Repeat("{a: ", 50'000), 400, ""},
      {"a YAML bomb", "POST", kConfigMaps, kYaml,
       "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
       "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
       "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
       "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
       "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
       "g: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
       400, "error decoding YAML"},
      {"10,000 labels", "POST", kConfigMaps, kJson,
       Named("labels", Labels(10'000)), 201, ""},
      {"100,000 labels", "POST", kConfigMaps, kJson,
       Named("more-labels", Labels(100'000)), 413,
       "Request entity too large: limit is 3145728"},
      {"annotations", "POST", kConfigMaps, kJson,
       Named("big", ",\"annotations\":{\"a\":\"" +
                        std::string(300'000, 'x') + "\"}}}"),
       422,
       "ConfigMap \"big\" is invalid: metadata.annotations: Too long: may not "
       "be more than 262144 bytes"},
      {"data", "POST", kConfigMaps, kJson,
       Named("big", "},\"data\":{\"a\":\"" + std::string(1'200'000, 'x') +
                        "\"}}"),
       422,
       "ConfigMap \"big\" is invalid: []: Too long: may not be more than "
       "1048576 bytes"},
      {"a body", "POST", kConfigMaps, kJson,
       Named("big", "},\"data\":{\"a\":\"" + std::string(4 << 20, 'x') +
                        "\"}}"),
       413, "Request entity too large: limit is 3145728"},
      {"a name", "POST", kConfigMaps, kJson,
       Named(std::string(5'000, 'n'), "}}"), 422,
       "must be no more than 253 characters"},
      {"no UTF-8", "POST", kConfigMaps, kJson,
       Named("utf8", "},\"data\":{\"a\":\"x\xff\xc3(\xed\xa0\x80y\"}}"), 201,
       "\"a\":\"x\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
       "y\""},
      {"half a surrogate", "POST", kConfigMaps, kJson,
       Named("utf16", R"(},"data":{"a":"x\ud800y\udc00\ud83d\ude00\\\"z"}})"),
       201,
       "\"a\":\"x\xef\xbf\xbdy\xef\xbf\xbd\xf0\x9f\x98\x80\\\\\\\"z\""},
      {"no UTF-8 in a name", "POST", kConfigMaps, kJson,
       Named("a\xff", "}}"), 422, "Invalid value: \"a\xef\xbf\xbd\""},
      {"no UTF-8 outside of strings", "POST", kConfigMaps, kJson, "{\xff", 400,
       "invalid character '\xc3\xbf' looking for beginning of"},
      {"no UTF-8 in YAML", "POST", kConfigMaps, kYaml,
       "metadata: {name: \"a\xff\"}", 400,
       "error decoding YAML: yaml: invalid leading UTF-8 octet"},
      {"a key twice, strict", "POST",
       absl::StrCat(kConfigMaps, "?fieldValidation=Strict"), kJson,
       Named("dup", R"(},"data":{"a":"1","a":"2"}})"), 400,
       "strict decoding error: duplicate field \"data.a\""},
      {"a key twice", "POST", kConfigMaps, kJson,
       Named("dup", R"(},"data":{"a":"1","a":"2"}})"), 201,
       R"(Warning: 299 - "duplicate field \"data.a\"")"},
      {"metadata twice", "POST",
       absl::StrCat(kConfigMaps, "?fieldValidation=Strict"), kJson,
       R"({"metadata":{"name":"x"},"metadata":{"name":"y"}})", 400,
       "strict decoding error: duplicate field \"metadata\""},
      {"nothing", "POST", kConfigMaps, kJson, "", 400,
       unrecognized + "unexpected end of JSON input"},
      {"NULs", "POST", kConfigMaps, kJson, std::string(1000, '\0'), 400,
       unrecognized + "invalid character"},
      {"no number", "POST", "/apis/apps/v1/namespaces/default/deployments",
       kJson, Named("d", R"(},"spec":{"replicas":1e999}})"), 400, ""},
      {"a long selector", "GET",
       absl::StrCat(kConfigMaps, "?labelSelector=", Repeat("a%2C", 10'000),
                    "a"),
       kJson, "", 200, "\"items\":[]"},
  };
  for (const Row& row : rows) {
    const std::string answer = Ask(row.method, row.target, row.type, row.body);
    EXPECT_EQ(StatusOf(answer), row.status)
        << row.name << ": " << answer.substr(0, 600);
    const Json status = JsonOf(answer);
    if (row.status >= 300) {
      ASSERT_TRUE(status.is_object()) << row.name << answer.substr(0, 600);
      EXPECT_EQ(status["kind"], "Status") << row.name;
      EXPECT_NE(status.value("message", "").find(row.says), std::string::npos)
          << row.name << ": " << answer.substr(0, 600);
      EXPECT_LT(answer.size(), 40'000u) << row.name;
    } else {
      EXPECT_THAT(answer, HasSubstr(row.says)) << row.name;
    }
    ExpectServing(row.name);
  }
  EXPECT_EQ(JsonOf(GetPage(controller_.url(),
                           absl::StrCat(kConfigMaps, "/dup")))["data"]["a"],
            "2");
}

TEST_F(HostileTest, HeadsAreRefusedInGosWords) {
  struct Row {
    const char* name;
    std::string text;
    const char* answer;
  } rows[] = {
      {"a large field",
       "GET /livez HTTP/1.1\r\nX: " + std::string(200'000, 'x') + "\r\n\r\n",
       "HTTP/1.1 431 Request Header Fields Too Large"},
      {"many fields",
       "GET /livez HTTP/1.1\r\n" + Repeat("A: b\r\n", 30'000) + "\r\n",
       "HTTP/1.1 431 Request Header Fields Too Large"},
      {"a long target",
       "GET /" + std::string(200'000, 'x') + " HTTP/1.1\r\nHost: x\r\n\r\n",
       "HTTP/1.1 431 Request Header Fields Too Large"},
      {"no HTTP", "\x16\x03\x01\x02\x01\xfc\x03\x03 hello\r\n\r\n",
       "HTTP/1.1 400 Bad Request"},
      {"no length",
       "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
       "HTTP/1.1 400 Bad Request"},
      {"two lengths",
       "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
       "Content-Length: 2\r\n\r\n",
       "HTTP/1.1 400 Bad Request"},
      {"no chunk",
       "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n"
       "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
       "HTTP/1.1 400 Bad Request"},
      {"a huge chunk",
       "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n"
       "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
       "HTTP/1.1 400 Bad Request"},
      {"a huge length",
       "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n"
       "Content-Length: 18446744073709551615\r\n\r\n",
       "HTTP/1.1 413 "},
  };
  for (const Row& row : rows) {
    HttpSocket client(controller_.url());
    client.Send(row.text);
    const std::string answer = client.Read(absl::Seconds(5));
    EXPECT_THAT(answer, StartsWith(row.answer)) << row.name;
    EXPECT_TRUE(client.ended()) << row.name;
    if (answer.starts_with("HTTP/1.1 431")) {
      EXPECT_EQ(BodyOf(answer), "431 Request Header Fields Too Large");
    }
    ExpectServing(row.name);
  }
}

std::string WatchRequest() {
  return absl::StrCat("GET ", kConfigMaps,
                      "?watch=1&resourceVersion=0 HTTP/1.1\r\n"
                      "Host: x\r\n\r\n");
}

TEST_F(HostileTest, AHalfClosedWatchIsForgotten) {
  constexpr int kWatches = 50;
  const int64_t before = Metric("fl_api_watches");
  std::vector<HttpSocket> clients;
  for (int i = 0; i < kWatches; ++i) {
    ASSERT_TRUE(clients.emplace_back(controller_.url()).Send(WatchRequest()));
  }
  ASSERT_TRUE(Until([&] {
    return Metric("fl_api_watches") == before + kWatches;
  })) << Metric("fl_api_watches");
  for (HttpSocket& client : clients) client.EndSending();
  EXPECT_TRUE(Until([&] { return Metric("fl_api_watches") == before; },
                    absl::Seconds(10)))
      << Metric("fl_api_watches");
  for (HttpSocket& client : clients) {
    client.Read(absl::Seconds(5));
    EXPECT_TRUE(client.ended());
  }
  // A request that is whole is answered all the same.
  HttpSocket half(controller_.url());
  half.Send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  half.EndSending();
  EXPECT_THAT(half.Read(absl::Seconds(5)), StartsWith("HTTP/1.1 200"));
}

TEST_F(HostileTest, WhoDoesNotReadIsCutOffAndOthersGoOn) {
  constexpr int kObjects = 40;
  constexpr size_t kSize = 1'000'000;
  HttpSocket slow(controller_.url(), /*receive_buffer=*/4096);
  ASSERT_TRUE(slow.Send(WatchRequest()));
  HttpSocket quick(controller_.url());
  ASSERT_TRUE(quick.Send(WatchRequest()));
  std::string seen;
  std::thread reader([&] {
    seen = quick.Read(absl::Seconds(60), [&](const std::string& text) {
      return text.size() > kObjects * kSize;
    });
  });
  for (int i = 0; i < kObjects; ++i) {
    EXPECT_EQ(StatusOf(Ask("POST", kConfigMaps, kJson,
                           Named(absl::StrCat("large-", i),
                                 "},\"data\":{\"a\":\"" +
                                     std::string(kSize, 'x') + "\"}}"))),
              201);
    ExpectServing("a slow watcher");
  }
  reader.join();
  EXPECT_GT(seen.size(), kObjects * kSize);
  EXPECT_FALSE(quick.ended());
  EXPECT_EQ(Metric("fl_api_watches_cut_off_total"), 1);
  EXPECT_LT(slow.Read().size(), kObjects * kSize);
  EXPECT_TRUE(slow.ended());
}

TEST_F(HostileTest, RequestsThatNeverEndHoldNobodyUp) {
  constexpr int kClients = 500;
  std::vector<HttpSocket> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back(controller_.url())
        .Send(i % 2 == 0 ? "GET /livez HTTP/1.1\r\nX-"
                         : "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n"
                           "Content-Length: 3000000\r\n\r\n{");
  }
  for (int round = 0; round < 20; ++round) {
    for (HttpSocket& client : clients) EXPECT_TRUE(client.Send("a"));
    ExpectServing("slow requests");
  }
  EXPECT_EQ(StatusOf(Ask("POST", kConfigMaps, kJson, Named("one", "}}"))), 201);
}

}  // namespace
}  // namespace fairlead
