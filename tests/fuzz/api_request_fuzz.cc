// SPDX-License-Identifier: Apache-2.0
// Requests as bytes: "METHOD TARGET CONTENT-TYPE ACCEPT\n" and a body, given
// to a server with a store in memory. It must answer every one of them, and a
// bad one with a Status or plain text.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/fuzz/api_world.h"

namespace fairlead::api {
namespace {

std::string Word(std::string_view& line) {
  size_t end = std::min(line.find(' '), line.size());
  std::string word(line.substr(0, end));
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

void Serve(World& world, std::string_view input) {
  size_t newline = std::min(input.find('\n'), input.size());
  std::string_view line = input.substr(0, newline);
  kube::Request request;
  request.method = Word(line);
  request.target = Word(line);
  request.headers = {{"Content-Type", Word(line)},
                     {"Accept", std::string(line)}};
  request.body = input.substr(std::min(newline + 1, input.size()));
  // A watch does not end by itself. The first of two values counts.
  if (size_t query = request.target.find('?'); query != std::string::npos) {
    request.target.insert(query + 1, "timeoutSeconds=0&");
  }
  bool answered = false;
  auto call = world.server->transport()->Do(
      std::move(request), [&](absl::StatusOr<kube::Response> response) {
        answered = true;
        if (!response.ok() || response->status < 200 ||
            response->status > 599) {
          abort();
        }
        world.loop.Stop();
      });
  Timer deadline = world.loop.After(absl::Seconds(5), [] { abort(); });
  if (!answered) world.loop.Run();
}

}  // namespace
}  // namespace fairlead::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fairlead::api::World* world = new fairlead::api::World;
  if (++world->requests > 2000) world->Start();
  fairlead::api::Serve(
      *world, {reinterpret_cast<const char*>(data), size});
  return 0;
}
