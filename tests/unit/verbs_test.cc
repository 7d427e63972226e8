// SPDX-License-Identifier: Apache-2.0
// The verbs, as a client sees them; messages are a real server's.
#include <gmock/gmock.h>

#include <set>

#include "control/api/render.h"
#include "tests/unit/api_fixture.h"
#include "userspace/kube/yaml.h"

namespace fairlead::api {
namespace {

using testing::HasSubstr;

constexpr const char* kWidgets = "/apis/test.io/v1/namespaces/default/widgets";

class VerbsTest : public ApiServerTest {
 protected:
  Json Make(const std::string& name, const Json& spec = Json::object(),
            const Json& metadata = Json::object()) {
    Json object = {{"metadata", metadata}, {"spec", spec}};
    object["metadata"]["name"] = name;
    Answer answer = Do("POST", kWidgets, object.dump());
    EXPECT_EQ(answer.status, 201) << answer.body;
    return answer.json();
  }
  std::string At(const std::string& name) {
    return std::string(kWidgets) + "/" + name;
  }
};

TEST_F(VerbsTest, CreateFillsInMetadata) {
  Json made = Make("a", {{"size", 3}});
  EXPECT_EQ(made["kind"], "Widget");
  EXPECT_EQ(made["apiVersion"], "test.io/v1");
  Json metadata = made["metadata"];
  EXPECT_EQ(metadata["namespace"], "default");
  EXPECT_EQ(metadata["generation"], 1);
  EXPECT_EQ(metadata["uid"].get<std::string>().size(), 36u);
  EXPECT_THAT(metadata["creationTimestamp"].get<std::string>(),
              testing::MatchesRegex("....-..-..T..:..:..Z"));
  EXPECT_EQ(Do("GET", At("a")).json(), made);
}

TEST_F(VerbsTest, GeneratedNames) {
  std::string long_prefix(100, 'x');
  Answer answer = Do("POST", kWidgets,
                     Json{{"metadata", {{"generateName", long_prefix}}}}.dump());
  ASSERT_EQ(answer.status, 201) << answer.body;
  std::string name = answer.json()["metadata"]["name"];
  EXPECT_EQ(name.size(), 63u);
  EXPECT_EQ(answer.json()["metadata"]["generateName"], long_prefix);
}

struct ErrorRow {
  const char* name;
  const char* method;
  const char* target;
  const char* body;
  const char* content_type;
  int code;
  const char* reason;
  const char* message;
  const char* details = nullptr;  // JSON
};

TEST_F(VerbsTest, AGeneratedNameThatIsTakenIsTriedAnew) {
  ServerOptions options;
  int asked = 0;
  options.name_suffix = [&asked] {
    return std::string(++asked % 4 == 0 ? "other" : "taken");
  };
  Start(options);
  const std::string body = R"({"metadata":{"generateName":"w-"}})";
  auto create = [&] { return Do("POST", kWidgets, body); };
  EXPECT_EQ(create().json()["metadata"]["name"], "w-taken");
  EXPECT_EQ(create().json()["metadata"]["name"], "w-other");
  EXPECT_EQ(asked, 4);
  Answer answer = create();
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(asked, 12);
  EXPECT_EQ(answer.json()["reason"], "AlreadyExists");
  EXPECT_EQ(answer.json()["details"]["retryAfterSeconds"], 1);
  EXPECT_EQ(answer.json()["message"],
            "widgets.test.io \"w-other\" already exists, the server was not "
            "able to generate a unique name for the object");
}

TEST_F(VerbsTest, ErrorsAreStatusesInTheServersWords) {
  Make("im", {{"size", 1}});
  const char* kJson = "application/json";
  const char* kMerge = "application/merge-patch+json";
  for (const ErrorRow& row : std::vector<ErrorRow>{
           {"not found", "GET", "/apis/test.io/v1/namespaces/default/widgets/no",
            "", "", 404, "NotFound", "widgets.test.io \"no\" not found",
            R"({"name":"no","group":"test.io","kind":"widgets"})"},
           {"delete what is not there", "DELETE",
            "/apis/test.io/v1/namespaces/default/widgets/no", "", "", 404,
            "NotFound", "widgets.test.io \"no\" not found"},
           {"unknown resource", "GET", "/api/v1/namespaces/default/foos", "",
            "", 404, "NotFound",
            "the server could not find the requested resource", "{}"},
           {"unknown subresource", "GET",
            "/apis/test.io/v1/namespaces/default/widgets/im/nosub", "", "",
            404, "NotFound",
            "the server could not find the requested resource"},
           {"missing namespace", "POST",
            "/apis/test.io/v1/namespaces/nope/widgets",
            R"({"metadata":{"name":"x"}})", kJson, 404, "NotFound",
            "namespaces \"nope\" not found",
            R"({"name":"nope","kind":"namespaces"})"},
           {"exists", "POST", kWidgets, R"({"metadata":{"name":"im"}})", kJson,
            409, "AlreadyExists", "widgets.test.io \"im\" already exists",
            R"({"name":"im","group":"test.io","kind":"widgets"})"},
           {"cut JSON", "POST", kWidgets,
            R"({"apiVersion":"test.io/v1","kind":"Widget",)", kJson, 400,
            "BadRequest",
            "the object provided is unrecognized (must be of type Widget): "
            "couldn't get version/kind; json parse error: unexpected end of "
            "JSON input ({\"apiVersion\":\"test.io/v1\",\"ki ...)"},
           {"empty body", "POST", kWidgets, "", kJson, 400, "BadRequest",
            "the object provided is unrecognized (must be of type Widget): "
            "couldn't get version/kind; json parse error: unexpected end of "
            "JSON input (<empty>)"},
           {"wrong type", "POST", kWidgets, R"({"metadata":{"name":5}})",
            kJson, 400, "BadRequest",
            "Widget in version \"v1\" cannot be handled as a Widget: json: "
            "cannot unmarshal number into Go struct field "
            "ObjectMeta.metadata.name of type string"},
           {"another kind", "POST", kWidgets,
            R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}})",
            kJson, 400, "BadRequest",
            "Pod in version \"v1\" cannot be handled as a Widget: converting "
            "(v1.Pod) to (test.Widget): unknown conversion"},
           {"content type", "POST", kWidgets, "{}", "text/plain", 415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media "
            "types include: application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf"},
           {"patch type", "PATCH",
            "/apis/test.io/v1/namespaces/default/widgets/im", "{}", kJson, 415,
            "UnsupportedMediaType", "415: Unsupported Media Type"},
           {"method on an object", "POST",
            "/apis/test.io/v1/namespaces/default/widgets/im", "{}", kJson, 405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            "{}"},
           {"method on a collection", "PUT", kWidgets, "{}", kJson, 405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource"},
           {"delete all namespaces", "DELETE", "/api/v1/namespaces", "", "",
            405, "MethodNotAllowed",
            "the server does not allow this method on the requested resource"},
           {"validation", "POST", kWidgets,
            R"({"metadata":{"name":"x"},"spec":{"size":100}})", kJson, 422,
            "Invalid",
            "Widget.test.io \"x\" is invalid: spec.size: Invalid value: 100: "
            "must be less than 100",
            R"({"name":"x","group":"test.io","kind":"Widget","causes":[
                {"reason":"FieldValueInvalid","field":"spec.size",
                 "message":"Invalid value: 100: must be less than 100"}]})"},
           {"name in body and path", "PUT",
            "/apis/test.io/v1/namespaces/default/widgets/other",
            R"({"metadata":{"name":"x"}})", kJson, 400, "BadRequest",
            "the name of the object (x) does not match the name on the URL "
            "(other)"},
           {"namespace in body and path", "POST", kWidgets,
            R"({"metadata":{"name":"x","namespace":"other"}})", kJson, 400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace "
            "sent on the request"},
           {"version on create", "POST", kWidgets,
            R"({"metadata":{"name":"x","resourceVersion":"5"}})", kJson, 500,
            "", "resourceVersion should not be set on objects to be created"},
           {"stale version", "PATCH",
            "/apis/test.io/v1/namespaces/default/widgets/im",
            R"({"metadata":{"resourceVersion":"1"}})", kMerge, 409, "Conflict",
            "Operation cannot be fulfilled on widgets.test.io \"im\": the "
            "object has been modified; please apply your changes to the latest "
            "version and try again"},
           {"version that is none", "PATCH",
            "/apis/test.io/v1/namespaces/default/widgets/im",
            R"({"metadata":{"resourceVersion":"abc"}})", kMerge, 500, "",
            "strconv.ParseUint: parsing \"abc\": invalid syntax"},
           {"other uid", "PATCH",
            "/apis/test.io/v1/namespaces/default/widgets/im",
            R"({"metadata":{"uid":"0-0"}})", kMerge, 422, "Invalid",
            "Widget.test.io \"im\" is invalid: metadata.uid: Invalid value: "
            "\"0-0\": field is immutable"},
           {"uid precondition", "DELETE",
            "/apis/test.io/v1/namespaces/default/widgets/im",
            R"({"preconditions":{"resourceVersion":"1"}})", kJson, 409,
            "Conflict", nullptr},
           {"two propagations", "DELETE", 
            "/apis/test.io/v1/namespaces/default/widgets/im",
            R"({"orphanDependents":false,"propagationPolicy":"Orphan"})", kJson,
            422, "Invalid",
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: "
            "Invalid value: \"Orphan\": orphanDependents and "
            "deletionPropagation cannot be both set"},
           {"propagation", "DELETE",
            "/apis/test.io/v1/namespaces/default/widgets/im",
            R"({"propagationPolicy":"Nope"})", kJson, 422, "Invalid",
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: "
            "Unsupported value: \"Nope\": supported values: \"Foreground\", "
            "\"Background\", \"Orphan\", \"nil\""},
           {"dry run", "POST",
            "/apis/test.io/v1/namespaces/default/widgets?dryRun=Some",
            R"({"metadata":{"name":"x"}})", kJson, 422, "Invalid",
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported "
            "value: [\"Some\"]: supported values: \"All\""},
           {"field validation", "POST",
            "/apis/test.io/v1/namespaces/default/widgets?fieldValidation=Loud",
            R"({"metadata":{"name":"x"}})", kJson, 422, "Invalid",
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: "
            "Unsupported value: \"Loud\": supported values: \"\", \"Ignore\", "
            "\"Strict\", \"Warn\""},
           {"strict", "POST",
            "/apis/test.io/v1/namespaces/default/"
            "widgets?fieldValidation=Strict",
            R"({"metadata":{"name":"x"},"nope":1,"data":{"a":"1","a":"2"}})",
            kJson, 400, "BadRequest",
            "Widget in version \"v1\" cannot be handled as a Widget: strict "
            "decoding error: duplicate field \"data.a\", unknown field "
            "\"nope\""},
           {"bad number", "GET",
            "/apis/test.io/v1/namespaces/default/widgets?limit=abc", "", "",
            400, "BadRequest",
            "strconv.ParseInt: parsing \"abc\": invalid syntax"},
           {"version of a list", "GET",
            "/apis/test.io/v1/widgets?resourceVersion=abc", "", "", 400,
            "BadRequest",
            "invalid resource version: resourceVersion: Invalid value: "
            "\"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax"},
           {"match without version", "GET",
            "/apis/test.io/v1/widgets?resourceVersionMatch=Exact", "", "", 422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: "
            "Forbidden: resourceVersionMatch is forbidden unless "
            "resourceVersion is provided"},
           {"exact 0", "GET",
            "/apis/test.io/v1/widgets?resourceVersion=0&"
            "resourceVersionMatch=Exact",
            "", "", 422, "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: "
            "Forbidden: resourceVersionMatch \"exact\" is forbidden for "
            "resourceVersion \"0\""},
           {"streamed list without match", "GET",
            "/apis/test.io/v1/widgets?watch=1&sendInitialEvents=true", "", "",
            422, "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: "
            "Forbidden: sendInitialEvents requires setting "
            "resourceVersionMatch to NotOlderThan"},
           {"field selector", "GET",
            "/apis/test.io/v1/widgets?fieldSelector=spec.nope%3Dx", "", "",
            400, "BadRequest", "field label not supported: spec.nope"},
           {"field selector, none known", "GET",
            "/api/v1/pods?fieldSelector=a%3Db", "", "", 400, "BadRequest",
            "\"a\" is not a known field selector: only \"metadata.name\", "
            "\"metadata.namespace\""},
           {"future version", "GET",
            "/apis/test.io/v1/widgets?resourceVersion=999999999", "", "", 504,
            "Timeout", nullptr,
            R"({"causes":[{"reason":"ResourceVersionTooLarge",
                "message":"Too large resource version"}],
                "retryAfterSeconds":1})"},
           {"bad continue", "GET",
            "/apis/test.io/v1/widgets?limit=2&continue=eyJ2IjoieCIsInJ2IjoxfQ",
            "", "", 400, "BadRequest",
            "invalid continue token: continue key is not valid: server does "
            "not recognize this encoded version x"},
           {"version too old for exact", "GET",
            "/apis/test.io/v1/widgets?resourceVersion=1&"
            "resourceVersionMatch=Exact",
            "", "", 200, nullptr, nullptr},
       }) {
    kube::Headers headers;
    if (row.content_type[0] != '\0') {
      headers.emplace_back("Content-Type", row.content_type);
    }
    Answer answer = Do(row.method, row.target, row.body, headers);
    EXPECT_EQ(answer.status, row.code) << row.name << ": " << answer.body;
    if (row.reason == nullptr) continue;
    Json status = answer.json();
    EXPECT_EQ(status["kind"], "Status") << row.name;
    EXPECT_EQ(status["code"], row.code) << row.name;
    EXPECT_EQ(status.value("reason", ""), row.reason) << row.name;
    if (row.message != nullptr) {
      EXPECT_EQ(status["message"], row.message) << row.name;
    }
    if (row.details != nullptr) {
      EXPECT_EQ(status["details"], Json::parse(row.details)) << row.name;
    }
  }
  Answer page = Do("GET", "/apis/nope.example/v1/foos");
  EXPECT_EQ(page.status, 404);
  EXPECT_EQ(page.body, "404 page not found\n");
  EXPECT_EQ(Do("GET", "//api/v1//services").body, "404 page not found\n");
}

TEST_F(VerbsTest, WarningsForUnknownFields) {
  std::string body = R"({"metadata":{"name":"w","nope2":"x"},"nope":1})";
  Answer warned = Do("POST", kWidgets, body);
  ASSERT_EQ(warned.status, 201);
  std::vector<std::string> warnings;
  for (const auto& [name, value] : warned.headers) {
    if (name == "Warning") warnings.push_back(value);
  }
  EXPECT_EQ(warnings, (std::vector<std::string>{
                          R"(299 - "unknown field \"metadata.nope2\"")",
                          R"(299 - "unknown field \"nope\"")"}));
  EXPECT_FALSE(warned.json().contains("nope"));
  Answer quiet = Do("POST",
                    std::string(kWidgets) +
                        "?dryRun=All&fieldValidation=Ignore",
                    R"({"metadata":{"name":"v"},"nope":1})");
  EXPECT_EQ(quiet.status, 201);
  for (const auto& [name, value] : quiet.headers) EXPECT_NE(name, "Warning");
  EXPECT_FALSE(quiet.json()["metadata"].contains("resourceVersion"));
  EXPECT_EQ(Do("GET", At("v")).status, 404);
}

TEST_F(VerbsTest, YamlInAndOut) {
  Answer made = Do("POST", kWidgets,
                   "apiVersion: test.io/v1\nkind: Widget\n"
                   "metadata:\n  name: y1\nspec:\n  size: 7\n",
                   {{"Content-Type", "application/yaml"},
                    {"Accept", "application/yaml"}});
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_THAT(made.body, HasSubstr("spec:\n  size: 7\n"));
}

TEST(YamlTextTest, QuotesWhatWouldNotBeReadAsText) {
  for (const char* plain :
       {"10.107.59.76", "6c5bf047-d903-4005-ab2a-569ee7a9e857", ".", "25%",
        "f:spec", "k:{\"port\":80,\"protocol\":\"TCP\"}", "a b", "v1",
        "registry.example/c:1", "8m"}) {
    EXPECT_EQ(YamlText(Json(plain)), std::string(plain) + "\n");
  }
  for (const char* text :
       {"36909", "1e3", "0x1f", "0b10", "1_000", "1:30", "2026-11-22",
        "2026-11-22T15:21:25Z", "-", "- a", "a: b", "a:", "a #b", " a", "a ",
        "y", "No", "null", "~", "", "#a", "&a", "*a", "!a", "|", "{", "[a]",
        "%a", "@a", "'a'", "\"a\"", "a\nb", ".5", ".inf", "+1", "0o7", "?"}) {
    EXPECT_NE(YamlText(Json(text)), std::string(text) + "\n");
  }
  // And whatever it is, it is read back.
  for (const char* text : {"36909", "a: b", "k:{\"a\":1}", "0x1f", "y", "8m",
                           "it's", "a, b", "10.1.2.3", "1:30", "f:x"}) {
    Json object = {{text, text}};
    auto read = kube::JsonFromYaml(YamlText(object));
    ASSERT_TRUE(read.ok()) << text;
    EXPECT_EQ((*read)[0], object) << YamlText(object);
  }
}

TEST_F(VerbsTest, GenerationAndNoOps) {
  Json made = Make("g", {{"size", 1}});
  std::string version = made["metadata"]["resourceVersion"];
  Answer same = Patch(At("g"), "merge-patch", "{}");
  EXPECT_EQ(same.status, 200);
  EXPECT_EQ(same.json()["metadata"]["resourceVersion"], version);
  EXPECT_EQ(Patch(At("g"), "json-patch", "[]").json(), made);
  EXPECT_EQ(Do("PUT", At("g"), made.dump()).json(), made);
  Json labelled = Patch(At("g"), "merge-patch",
                        R"({"metadata":{"labels":{"a":"b"},"generation":99,
                            "creationTimestamp":"2020-01-01T00:00:00Z"}})")
                      .json();
  EXPECT_EQ(labelled["metadata"]["generation"], 1);
  EXPECT_EQ(labelled["metadata"]["creationTimestamp"],
            made["metadata"]["creationTimestamp"]);
  EXPECT_NE(labelled["metadata"]["resourceVersion"], version);
  Json resized =
      Patch(At("g"), "merge-patch", R"({"spec":{"size":2}})").json();
  EXPECT_EQ(resized["metadata"]["generation"], 2);
  Json status = Patch(At("g") + "/status", "merge-patch",
                      R"({"spec":{"size":9},"status":{"ready":1}})")
                    .json();
  EXPECT_EQ(status["metadata"]["generation"], 2);
  EXPECT_EQ(status["spec"]["size"], 2);
  EXPECT_EQ(status["status"]["ready"], 1);
  Json main = Patch(At("g"), "merge-patch", R"({"status":{"ready":5}})").json();
  EXPECT_EQ(main, status);
}

TEST_F(VerbsTest, PutCreatesOnlyWhereTheRowSaysSo) {
  EXPECT_EQ(Do("PUT", At("new"), R"({"metadata":{"name":"new"}})").status,
            404);
}

TEST_F(VerbsTest, DeleteAnswersAndPreconditions) {
  Json made = Make("d");
  Answer gone = Do("DELETE", At("d"));
  EXPECT_EQ(gone.status, 200);
  EXPECT_EQ(gone.json(),
            (Json{{"kind", "Status"},
                  {"apiVersion", "v1"},
                  {"metadata", Json::object()},
                  {"status", "Success"},
                  {"details",
                   {{"name", "d"},
                    {"group", "test.io"},
                    {"kind", "widgets"},
                    {"uid", made["metadata"]["uid"]}}}}));
  EXPECT_EQ(Do("GET", At("d")).status, 404);
  Make("e");
  Answer conflict = Do("DELETE", At("e"), R"({"preconditions":{"uid":"0-0"}})");
  EXPECT_EQ(conflict.status, 409);
  EXPECT_THAT(conflict.json()["message"].get<std::string>(),
              HasSubstr("Operation cannot be fulfilled on Widget.test.io "
                        "\"e\": the UID in the precondition (0-0) does not "
                        "match the UID in record ("));
  EXPECT_EQ(Do("DELETE", At("e") + "?dryRun=All").status, 200);
  EXPECT_EQ(Do("GET", At("e")).status, 200);
}

TEST_F(VerbsTest, FinalizersHoldAnObject) {
  Make("f", {{"size", 1}}, {{"finalizers", {"example.com/hold"}}});
  Json marked = Do("DELETE", At("f")).json();
  EXPECT_TRUE(marked["metadata"].contains("deletionTimestamp"));
  EXPECT_EQ(marked["metadata"]["deletionGracePeriodSeconds"], 0);
  EXPECT_EQ(Do("DELETE", At("f")).json(), marked);
  Answer added = Patch(At("f"), "merge-patch",
                       R"({"metadata":{"finalizers":
                           ["example.com/hold","example.com/new"]}})");
  EXPECT_EQ(added.status, 422);
  EXPECT_EQ(added.json()["message"],
            "Widget.test.io \"f\" is invalid: metadata.finalizers: Forbidden: "
            "no new finalizers can be added if the object is being deleted, "
            "found new finalizers []string{\"example.com/new\"}");
  EXPECT_EQ(Patch(At("f"), "merge-patch", R"({"spec":{"size":2}})").status,
            200);
  EXPECT_EQ(
      Patch(At("f"), "merge-patch", R"({"metadata":{"finalizers":null}})")
          .status,
      200);
  EXPECT_EQ(Do("GET", At("f")).status, 404);
}

TEST_F(VerbsTest, PropagationIsRecordedForTheGarbageCollector) {
  Make("p");
  Json waiting =
      Do("DELETE", At("p") + "?propagationPolicy=Foreground").json();
  EXPECT_EQ(waiting["metadata"]["finalizers"], Json{"foregroundDeletion"});
  EXPECT_TRUE(waiting["metadata"].contains("deletionTimestamp"));
  Make("o");
  EXPECT_EQ(Do("DELETE", At("o"), R"({"propagationPolicy":"Orphan"})")
                .json()["metadata"]["finalizers"],
            Json{"orphan"});
}

TEST_F(VerbsTest, PodsEndGracefully) {
  const std::string pods = "/api/v1/namespaces/default/pods";
  Do("POST", pods, R"({"metadata":{"name":"a"},"spec":{"size":1}})");
  Answer unbound = Do("DELETE", pods + "/a");
  EXPECT_EQ(unbound.json()["metadata"]["deletionGracePeriodSeconds"], 0);
  EXPECT_EQ(unbound.json()["metadata"]["generation"], 2);
  EXPECT_EQ(Do("GET", pods + "/a").status, 404);

  Do("POST", pods, R"({"metadata":{"name":"b"},"spec":{}})");
  Answer bound = Do("POST", pods + "/b/binding",
                    R"({"target":{"kind":"Node","name":"n1"}})");
  EXPECT_EQ(bound.status, 201) << bound.body;
  EXPECT_EQ(bound.json()["status"], "Success");
  Json pod = Do("GET", pods + "/b").json();
  EXPECT_EQ(pod["spec"]["nodeName"], "n1");
  EXPECT_EQ(pod["status"]["conditions"][0]["type"], "PodScheduled");
  Answer again = Do("POST", pods + "/b/binding",
                    R"({"target":{"kind":"Node","name":"n2"}})");
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(again.json()["message"],
            "Operation cannot be fulfilled on pods/binding \"b\": pod b is "
            "already assigned to node \"n1\"");
  Json ending = Do("DELETE", pods + "/b?gracePeriodSeconds=20").json();
  EXPECT_EQ(ending["metadata"]["deletionGracePeriodSeconds"], 20);
  EXPECT_EQ(ending["metadata"]["generation"], 2);
  EXPECT_EQ(Do("DELETE", pods + "/b?gracePeriodSeconds=25").json(), ending);
  EXPECT_EQ(Do("DELETE", pods + "/b?gracePeriodSeconds=0").status, 200);
  EXPECT_EQ(Do("GET", pods + "/b").status, 404);
}

TEST_F(VerbsTest, ATerminatingNamespaceTakesNothingNew) {
  Do("POST", "/api/v1/namespaces",
     R"({"metadata":{"name":"going"},"spec":{"finalizers":["kubernetes"]}})");
  Json going = Do("DELETE", "/api/v1/namespaces/going").json();
  EXPECT_EQ(going["status"]["phase"], "Terminating");
  Answer late = Do("POST", "/api/v1/namespaces/going/pods",
                   R"({"metadata":{"name":"late"}})");
  EXPECT_EQ(late.status, 403);
  EXPECT_EQ(late.json()["message"],
            "pods \"late\" is forbidden: unable to create new content in "
            "namespace going because it is being terminated");
  EXPECT_EQ(late.json()["details"]["causes"][0]["reason"],
            "NamespaceTerminating");
  going["spec"].erase("finalizers");
  EXPECT_EQ(
      Do("PUT", "/api/v1/namespaces/going/finalize", going.dump()).status,
      200);
  EXPECT_EQ(Do("GET", "/api/v1/namespaces/going").status, 404);
  Answer permanent = Do("DELETE", "/api/v1/namespaces/default");
  EXPECT_EQ(permanent.status, 403);
  EXPECT_EQ(permanent.json()["message"],
            "namespaces \"default\" is forbidden: this namespace may not be "
            "deleted");
}

TEST_F(VerbsTest, Scale) {
  Make("s", {{"replicas", 1},
             {"selector", {{"matchLabels", {{"app", "d"}}}}}});
  Json scale = Do("GET", At("s") + "/scale").json();
  EXPECT_EQ(scale["kind"], "Scale");
  EXPECT_EQ(scale["status"]["selector"], "app=d");
  Answer patched =
      Patch(At("s") + "/scale", "merge-patch", R"({"spec":{"replicas":5}})");
  EXPECT_EQ(patched.json()["spec"]["replicas"], 5) << patched.body;
  Json object = Do("GET", At("s")).json();
  EXPECT_EQ(object["spec"]["replicas"], 5);
  EXPECT_EQ(object["metadata"]["generation"], 2);
  Answer negative =
      Patch(At("s") + "/scale", "merge-patch", R"({"spec":{"replicas":-1}})");
  EXPECT_EQ(negative.status, 422);
  EXPECT_EQ(negative.json()["message"],
            "Scale.autoscaling \"s\" is invalid: spec.replicas: Invalid value: "
            "-1: must be greater than or equal to 0");
  EXPECT_EQ(Do("PUT", At("s") + "/scale",
               R"({"metadata":{"name":"s"},"spec":{"replicas":0}})")
                .json()["spec"],
            Json::object());
}

TEST_F(VerbsTest, ListsInPagesOfOneRevision) {
  for (const char* name : {"c", "a", "b", "e", "d"}) Make(name);
  Json first = Do("GET", std::string(kWidgets) + "?limit=2").json();
  EXPECT_EQ(first["kind"], "WidgetList");
  ASSERT_EQ(first["items"].size(), 2u);
  EXPECT_FALSE(first["items"][0].contains("kind"));
  EXPECT_EQ(first["items"][0]["metadata"]["name"], "a");
  EXPECT_EQ(first["metadata"]["remainingItemCount"], 3);
  // Changes between the pages don't show.
  EXPECT_EQ(Do("DELETE", At("c")).status, 200);
  Make("bb");
  std::string next = first["metadata"]["continue"];
  Json second =
      Do("GET", std::string(kWidgets) + "?limit=2&continue=" + next).json();
  EXPECT_EQ(second["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]);
  ASSERT_EQ(second["items"].size(), 2u);
  EXPECT_EQ(second["items"][0]["metadata"]["name"], "c");
  EXPECT_EQ(second["items"][1]["metadata"]["name"], "d");
  EXPECT_EQ(second["metadata"]["remainingItemCount"], 1);
  next = second["metadata"]["continue"];
  Json third =
      Do("GET", std::string(kWidgets) + "?limit=2&continue=" + next).json();
  EXPECT_EQ(third["items"].size(), 1u);
  EXPECT_FALSE(third["metadata"].contains("continue"));
  // The same by an exact version.
  std::string exact = first["metadata"]["resourceVersion"];
  Json then = Do("GET", std::string(kWidgets) + "?resourceVersion=" + exact +
                            "&resourceVersionMatch=Exact")
                  .json();
  EXPECT_EQ(then["items"].size(), 5u);
  Json all = Do("GET", "/apis/test.io/v1/widgets?limit=1").json();
  EXPECT_EQ(all["items"].size(), 1u);
  EXPECT_EQ(Do("GET", "/apis/test.io/v1/namespaces/none/widgets")
                .json()["items"],
            Json::array());
}

TEST_F(VerbsTest, AnOldPageGivesATokenThatGoesOn) {
  ServerOptions options;
  options.watch_history = 2;
  Start(options);
  for (const char* name : {"a", "b", "c", "d"}) Make(name);
  Json first = Do("GET", std::string(kWidgets) + "?limit=1").json();
  for (const char* name : {"x", "y", "z"}) Make(name);
  std::string next = first["metadata"]["continue"];
  Answer gone = Do("GET", std::string(kWidgets) + "?limit=1&continue=" + next);
  EXPECT_EQ(gone.status, 410);
  EXPECT_EQ(gone.json()["reason"], "Expired");
  std::string fresh = gone.json()["metadata"]["continue"];
  Json second =
      Do("GET", std::string(kWidgets) + "?limit=1&continue=" + fresh).json();
  EXPECT_EQ(second["items"][0]["metadata"]["name"], "b");
  Answer exact = Do("GET", std::string(kWidgets) +
                               "?resourceVersion=1&resourceVersionMatch=Exact");
  EXPECT_EQ(exact.status, 410);
  EXPECT_EQ(exact.json()["message"],
            "The resourceVersion for the provided list is too old.");
}

TEST_F(VerbsTest, Selectors) {
  Make("a", {{"node", "n1"}}, {{"labels", {{"app", "x"}}}});
  Make("b", {{"node", "n2"}}, {{"labels", {{"app", "x"}}}});
  Make("c", {{"node", "n1"}}, {{"labels", {{"app", "y"}}}});
  auto names = [&](const std::string& query) {
    std::string out;
    Json list = Do("GET", "/apis/test.io/v1/widgets?" + query).json();
    for (const Json& item : list["items"]) {
      out += item["metadata"]["name"].get<std::string>();
    }
    return out;
  };
  EXPECT_EQ(names("labelSelector=app%3Dx"), "ab");
  EXPECT_EQ(names("fieldSelector=spec.node%3Dn1"), "ac");
  EXPECT_EQ(names("fieldSelector=spec.node!%3Dn1"), "b");
  EXPECT_EQ(names("fieldSelector=metadata.name%3Dc"), "c");
  EXPECT_EQ(names("fieldSelector=metadata.name!%3Dc"), "ab");
  EXPECT_EQ(names("fieldSelector=metadata.namespace%3Dother"), "");
  EXPECT_EQ(names("labelSelector=app%3Dx&fieldSelector=spec.node%3Dn1"), "a");
  Answer deleted = Do(
      "DELETE", std::string(kWidgets) + "?labelSelector=app%3Dx");
  EXPECT_EQ(deleted.json()["items"].size(), 2u) << deleted.body;
  EXPECT_EQ(names(""), "c");
}

TEST_F(VerbsTest, TablesAndMetadataByAccept) {
  Make("a", {{"size", 4}});
  kube::Headers table = {
      {"Accept",
       "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}};
  Json list = Do("GET", kWidgets, "", table).json();
  EXPECT_EQ(list["kind"], "Table");
  EXPECT_EQ(list["columnDefinitions"][1]["name"], "Size");
  EXPECT_EQ(list["rows"][0]["cells"], (Json{"a", 4}));
  EXPECT_EQ(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
  EXPECT_EQ(list["apiVersion"], "meta.k8s.io/v1");
  Json older =
      Do("GET", kWidgets, "",
         {{"Accept", "application/json;as=Table;v=v1beta1;g=meta.k8s.io"}})
          .json();
  EXPECT_EQ(older["apiVersion"], "meta.k8s.io/v1beta1");
  EXPECT_EQ(older["rows"][0]["object"]["apiVersion"], "meta.k8s.io/v1beta1");
  Json whole = Do("GET", std::string(kWidgets) + "?includeObject=Object", "",
                  table)
                   .json();
  EXPECT_EQ(whole["rows"][0]["object"]["spec"]["size"], 4);
  Json none =
      Do("GET", std::string(kWidgets) + "?includeObject=None", "", table)
          .json();
  EXPECT_TRUE(none["rows"][0]["object"].is_null());
  EXPECT_EQ(Do("GET", At("a"), "", table).json()["rows"].size(), 1u);
  Json partial =
      Do("GET", kWidgets, "",
         {{"Accept",
           "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}})
          .json();
  EXPECT_EQ(partial["kind"], "PartialObjectMetadataList");
  EXPECT_FALSE(partial["items"][0].contains("spec"));
  // Protobuf first, JSON acceptable: JSON.
  EXPECT_EQ(Do("GET", At("a"), "",
               {{"Accept",
                 "application/vnd.kubernetes.protobuf,application/json"}})
                .status,
            200);
  Answer refused = Do("GET", kWidgets, "", {{"Accept", "text/plain"}});
  EXPECT_EQ(refused.status, 406);
  EXPECT_EQ(refused.json()["message"],
            "406: Not Acceptable\n\nAvailable representations: "
            "application/json, application/yaml, "
            "application/vnd.kubernetes.protobuf, "
            "application/json;stream=watch, "
            "application/vnd.kubernetes.protobuf;stream=watch");
  EXPECT_EQ(Do("GET", At("a"), "", {{"Accept", "application/*"}}).status, 406);
  EXPECT_EQ(
      Do("GET", kWidgets, "",
         {{"Accept", "application/json;as=Table;v=v9;g=meta.k8s.io"}})
          .json()["message"],
      "only the following media types are accepted: application/json, "
      "application/yaml, application/vnd.kubernetes.protobuf");
  EXPECT_THAT(Do("GET", At("a") + "?pretty=1").body, HasSubstr("\n  \"kind\""));
}

TEST_F(VerbsTest, ARestartKeepsEverything) {
  Json made = Make("kept", {{"size", 5}}, {{"labels", {{"a", "b"}}}});
  Json list = Do("GET", kWidgets).json();
  Start();
  EXPECT_EQ(Do("GET", At("kept")).json(), made);
  EXPECT_EQ(Do("GET", kWidgets).json(), list);
  EXPECT_EQ(Do("GET", std::string(kWidgets) + "?labelSelector=a%3Db")
                .json()["items"]
                .size(),
            1u);
}

// Two writers that read the same version: the second must see the first's
// write, though it had not been committed when the second came.
TEST_F(VerbsTest, WritesInFlightAreSeenByTheNext) {
  Json made = Make("r", {{"size", 0}});
  int answers = 0;
  std::vector<int> statuses;
  std::vector<std::unique_ptr<kube::Call>> calls;
  auto send = [&](std::string method, std::string body, std::string type) {
    calls.push_back(server_->transport()->Do(
        {std::move(method), At("r"), {{"Content-Type", std::move(type)}},
         std::move(body)},
        [&](absl::StatusOr<kube::Response> response) {
          ASSERT_TRUE(response.ok());
          statuses.push_back(response->status);
          ++answers;
        }));
  };
  Json update = made;
  update["spec"]["size"] = 7;
  send("PUT", update.dump(), "application/json");
  update["spec"]["size"] = 8;
  send("PUT", update.dump(), "application/json");  // stale by then
  send("PATCH",
       R"([{"op":"test","path":"/spec/size","value":7},
           {"op":"replace","path":"/spec/size","value":9}])",
       "application/json-patch+json");
  send("DELETE", "", "application/json");
  send("PATCH", "{}", "application/merge-patch+json");
  ASSERT_TRUE(RunUntil([&] { return answers == 5; }));
  EXPECT_EQ(statuses, (std::vector<int>{200, 409, 200, 200, 404}));
}

// Gives each widget a number that no other has, like cluster IPs.
class Numbers : public Admission {
 public:
  FieldErrors Admit(const Kind& kind, WriteVerb, bool, Json& object,
                    const Json* before) override {
    if (kind.resource.kind != "Widget" || before != nullptr) return {};
    Json& size = object["spec"]["size"];
    if (size.is_null()) size = 1;
    while (taken.contains(size)) size = size.get<int>() + 1;
    taken.insert(size.get<int>());
    log += "+" + size.dump();
    return {};
  }
  void Committed(const Kind& kind, const Json* before,
                 const Json* after) override {
    if (kind.resource.kind != "Widget") return;
    if (after == nullptr) taken.erase((*before)["spec"]["size"].get<int>());
    log += after == nullptr ? " deleted" : " ok";
  }
  void Aborted(const Kind& kind, const Json& object,
               const Json* before) override {
    if (kind.resource.kind != "Widget" || before != nullptr) return;
    taken.erase(object["spec"]["size"].get<int>());
    log += " aborted";
  }
  void Restore(const Kind& kind, const Json& object) override {
    if (kind.resource.kind == "Widget") {
      taken.insert(object["spec"]["size"].get<int>());
    }
  }
  std::set<int> taken;
  std::string log;
};

TEST_F(VerbsTest, AdmissionClaimsFollowTheWrite) {
  Numbers numbers;
  admissions_ = {&numbers};
  Start();
  EXPECT_EQ(Make("a")["spec"]["size"], 1);
  EXPECT_EQ(Make("b")["spec"]["size"], 2);
  EXPECT_EQ(numbers.log, "+1 ok+2 ok");
  // Rejected by validation, by a dry run, and by the disk.
  numbers.log.clear();
  EXPECT_EQ(
      Do("POST", kWidgets, R"({"metadata":{"name":"c"},"spec":{"size":100}})")
          .status,
      422);
  EXPECT_EQ(Do("POST", std::string(kWidgets) + "?dryRun=All",
               R"({"metadata":{"name":"c"}})")
                .status,
            201);
  broken_->Break(absl::ResourceExhaustedError("database or disk is full"));
  Answer full = Do("POST", kWidgets, R"({"metadata":{"name":"c"}})");
  EXPECT_EQ(full.status, 500);
  EXPECT_THAT(full.json()["message"].get<std::string>(),
              HasSubstr("disk is full"));
  EXPECT_EQ(Do("DELETE", At("a")).status, 500);
  EXPECT_EQ(Do("GET", At("c")).status, 404);
  EXPECT_EQ(Do("GET", At("a")).status, 200);
  EXPECT_EQ(numbers.log, "+100 aborted+3 aborted+3 aborted");
  broken_->Break(absl::OkStatus());
  numbers.log.clear();
  EXPECT_EQ(Do("DELETE", At("a")).status, 200);
  EXPECT_EQ(Make("c")["spec"]["size"], 1);
  EXPECT_EQ(numbers.log, " deleted+1 ok");
  // A restart knows the claims.
  Numbers fresh;
  admissions_ = {&fresh};
  Start();
  EXPECT_EQ(fresh.taken, (std::set<int>{1, 2}));
}

}  // namespace
}  // namespace fairlead::api
