// SPDX-License-Identifier: Apache-2.0
// The serving side of one SPDY/3.1 connection: which streams there are, what
// comes on them and what goes out. Where the bytes come from and go to is the
// owner's business; it is also the owner who slows a client down, by not
// feeding what it sends. Window updates are neither sent nor followed: the
// clients that there are (moby/spdystream) know nothing of them.
//
// Threads: one at a time.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SPDY_SESSION_H_
#define FAIRLEAD_USERSPACE_KUBELET_SPDY_SESSION_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "userspace/kubelet/spdy/frames.h"

namespace fairlead::spdy {

inline constexpr size_t kMaxStreams = 2048;  // at a time

class Session {
 public:
  // What a client does. Called inside Receive().
  class Streams {
   public:
    virtual ~Streams() = default;
    // An error refuses the stream; it is then as if it had never been.
    virtual absl::Status OnOpen(uint32_t stream, const Headers& headers) = 0;
    virtual void OnData(uint32_t stream, std::string_view data) = 0;
    // The client sends no more on it.
    virtual void OnFinished(uint32_t stream) = 0;
    // Both directions are over, whatever is under way.
    virtual void OnReset(uint32_t stream) = 0;
  };

  // `streams` outlives it.
  explicit Session(Streams* streams) : streams_(streams) {}

  // What the client sent. InvalidArgument: it broke the protocol, says how;
  // the connection is to be closed once Take() has gone out.
  [[nodiscard]] absl::Status Receive(std::string_view bytes);

  // On a stream that is open in our direction; ignored on any other.
  void Send(uint32_t stream, std::string_view data);
  void Finish(uint32_t stream);
  void Reset(uint32_t stream, ResetStatus status);

  // What is to be sent.
  std::string Take() { return std::exchange(out_, {}); }
  size_t queued() const { return out_.size(); }
  size_t streams() const { return open_.size(); }

 private:
  struct Halves {
    bool client = true, ours = true;  // still open
  };

  absl::Status OnFrame(const Frame& frame);
  absl::Status OnSynStream(const Frame& frame);
  absl::Status OnStreamFrame(const Frame& frame);
  // One of its halves was closed.
  void ForgetIfOver(uint32_t stream);

  Streams* streams_;
  FrameReader reader_;
  FrameWriter writer_;
  std::map<uint32_t, Halves> open_;
  uint32_t last_ = 0;  // the newest of the client's
  std::string out_;
};

}  // namespace fairlead::spdy

#endif  // FAIRLEAD_USERSPACE_KUBELET_SPDY_SESSION_H_
