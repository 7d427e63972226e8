// SPDX-License-Identifier: Apache-2.0
#include "bench/recorded_cluster.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead {
namespace {

using api::Json;

constexpr int kNodes = 200;
constexpr char kTriggerTime[] = "endpoints.kubernetes.io/last-change-trigger-time";
// What stands for a slice's endpoints.
constexpr char kEndpoints[] = R"("endpoints":null)";

absl::StatusOr<Json> Recorded(const api::ProtobufObjects& objects,
                              const std::string& name,
                              const std::string& kind) {
  std::ifstream file(
      StrCat(FAIRLEAD_SOURCE_DIR, "/tests/unit/testdata/kube/", name),
      std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  FL_ASSIGN_OR_RETURN(Json object, objects.Decode(bytes, kind));
  if (objects.Encode(object) != bytes) {
    return absl::DataLossError(StrCat(name, " comes back changed"));
  }
  return object;
}

// As random as those of a cluster, and the same in each run.
std::string Uid(uint64_t number) {
  const uint64_t a = (number + 1) * 0x9e3779b97f4a7c15;
  const uint64_t b = (a ^ a >> 29) * 0xbf58476d1ce4e5b9;
  return absl::StrFormat("%08x-%04x-4%03x-8%03x-%012x", a >> 32,
                         a >> 16 & 0xffff, a & 0xfff, b >> 52,
                         b & 0xffffffffffff);
}

// The last letters of a generated name.
std::string Suffix(uint64_t number, int letters) {
  constexpr char kLetters[] = "bcdfghjklmnpqrstvwxz2456789";
  uint64_t left = (number + 1) * 0x9e3779b97f4a7c15 >> 20;
  std::string suffix;
  for (int i = 0; i < letters; ++i, left /= 27) suffix += kLetters[left % 27];
  return suffix;
}

}  // namespace

absl::StatusOr<RecordedCluster> RecordedCluster::Load(
    const api::ProtobufObjects& objects) {
  RecordedCluster cluster;
  FL_ASSIGN_OR_RETURN(Json service,
                      Recorded(objects, "applied_service.pb", "Service"));
  FL_ASSIGN_OR_RETURN(
      Json slice, Recorded(objects, "owned_endpointslice.pb", "EndpointSlice"));
  cluster.endpoint_ = slice["endpoints"][0].dump();
  slice["endpoints"] = nullptr;
  Json& metadata = slice["metadata"];
  metadata["annotations"][kTriggerTime] = "2026-11-22T15:23:49Z";
  metadata["managedFields"][0]["fieldsV1"]["f:metadata"]["f:annotations"] = {
      {".", Json::object()},
      {StrCat("f:", kTriggerTime), Json::object()}};
  cluster.service_ = service.dump();
  cluster.slice_ = slice.dump();
  return cluster;
}

std::string RecordedCluster::ServiceName(int number) {
  return absl::StrFormat("svc-%05d", number);
}

std::string RecordedCluster::SliceName(int number) {
  return StrCat(ServiceName(number), "-", Suffix(number, 5));
}

std::string RecordedCluster::Service(int number, const std::string& cluster_ip,
                                     uint64_t version) const {
  const std::string name = ServiceName(number);
  return absl::StrReplaceAll(
      service_, {{R"("web")", StrCat("\"", name, "\"")},
                 {R"(\"web\")", StrCat("\\\"", name, "\\\"")},
                 {"7159d028-9ed0-44ae-9f3f-afd42ef23cf5", Uid(2 * number)},
                 {"10.105.103.210", cluster_ip},
                 {R"("39220")", StrCat("\"", version, "\"")}});
}

std::string RecordedCluster::Slice(int number,
                                   const std::vector<std::string>& addresses,
                                   uint64_t version) const {
  const std::string name = ServiceName(number);
  std::string endpoints;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const uint64_t pod = number * 1000 + i;
    const int node = static_cast<int>((number + i * 119) % kNodes);
    StrAppend(
        &endpoints, i == 0 ? "" : ",",
        absl::StrReplaceAll(
            endpoint_,
            {{"10.244.1.26", addresses[i]},
             {"web-77d84fb856-6dpgn",
              StrCat(name, "-77d84fb856-", Suffix(pod, 5))},
             {"2e9d32fc-53a4-4acf-b67c-65c187acdb34", Uid((1ull << 40) + pod)},
             {R"("node-1")", absl::StrFormat(R"("node-%03d")", node)},
             {"zone-b", absl::StrFormat("zone-%c", "abc"[node % 3])}}));
  }
  return absl::StrReplaceAll(
      slice_, {{R"("web")", StrCat("\"", name, "\"")},
               {R"("web-")", StrCat("\"", name, "-\"")},
               {R"("web-8scxn")", StrCat("\"", SliceName(number), "\"")},
               {"7159d028-9ed0-44ae-9f3f-afd42ef23cf5", Uid(2 * number)},
               {"6ff9ffc5-b07c-4f3b-bfca-bacf676c380d", Uid(2 * number + 1)},
               {kEndpoints, StrCat(R"("endpoints":[)", endpoints, "]")},
               {R"("39249")", StrCat("\"", version, "\"")}});
}

}  // namespace fairlead
