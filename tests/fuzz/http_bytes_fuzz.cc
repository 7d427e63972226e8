// SPDX-License-Identifier: Apache-2.0
// What a client sends over a connection, to a server with a store in memory, in
// two pieces: the first byte of an input says where it is cut. Whatever it is,
// what comes back is HTTP, the connection ends once the client has said all,
// and the next client is served.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "tests/fuzz/api_world.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

class Wire {
 public:
  // All that came until the server ended the connection.
  std::string Say(std::string_view first, std::string_view rest) {
    if (++world_.requests > 2000 || world_.server->ports().empty()) Restart();
    tcp::socket client(world_.loop.io());
    ErrorCode error;
    client.connect({asio::ip::address_v4::loopback(),
                    world_.server->ports()[0]}, error);
    if (error) abort();
    std::string answer;
    // Read while it is written: the server may end before it has taken all.
    asio::async_read(client, asio::dynamic_buffer(answer),
                     [&](ErrorCode, size_t) { world_.loop.Stop(); });
    asio::async_write(client, asio::buffer(first), [&](ErrorCode e, size_t) {
      if (e) return;
      asio::async_write(client, asio::buffer(rest), [&](ErrorCode, size_t) {
        ErrorCode ignored;
        client.shutdown(tcp::socket::shutdown_send, ignored);
      });
    });
    Timer deadline = world_.loop.After(absl::Seconds(10), [] { abort(); });
    world_.loop.Run();
    client.close(error);
    // What is left of the writes is not to see what is gone.
    world_.loop.io().restart();
    world_.loop.io().poll();
    world_.loop.io().restart();
    return answer;
  }

 private:
  void Restart() {
    world_.Start();
    if (!world_.server->Listen(*ListenAddress::Parse("127.0.0.1:0")).ok()) {
      abort();
    }
  }
  World world_;
};

}  // namespace
}  // namespace fairlead::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* wire = new fairlead::api::Wire;
  static int inputs = 0;
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const size_t cut = text.size() * data[0] / 256;
  const std::string answer = wire->Say(text.substr(0, cut), text.substr(cut));
  if (!answer.empty() && !answer.starts_with("HTTP/1.1 ")) abort();
  if (++inputs % 64 == 0 &&
      !wire->Say("GET /livez HTTP/1.1\r\n", "Host: x\r\n\r\n")
           .starts_with("HTTP/1.1 200 ")) {
    abort();
  }
  return 0;
}
