// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/probes/action.h"


#include "userspace/base/strings.h"
#include "userspace/kubelet/probes/grpc_call.h"
#include "userspace/kubelet/probes/network_call.h"
#include "userspace/kubelet/runtime/command.h"

namespace fairlead::kubelet {
namespace {

class ExecCall : public ActionCall {
 public:
  std::unique_ptr<Command> command;
};

// An outcome that needs no work, or only time.
class DelayedCall : public ActionCall {
 public:
  DelayedCall(EventLoop* loop, absl::Duration delay, ActionResult result,
              ActionDone done)
      : timer_(loop->After(delay, [result = std::move(result),
                                   done = std::move(done)] { done(result); })) {
  }

 private:
  Timer timer_;
};

std::unique_ptr<ActionCall> Fail(EventLoop* loop, std::string why,
                                 ActionDone done) {
  return std::make_unique<DelayedCall>(loop, absl::ZeroDuration(),
                                       ActionResult{false, std::move(why)},
                                       std::move(done));
}

// Why there is nobody to talk to; empty when there is.
std::string NoPeer(const Action& action, const std::string& host) {
  if (action.port == 0) return "no such port in the container's ports";
  return IpAddress::Parse(host).ok() ? ""
                                     : StrCat("not an IP address: ", host);
}

std::unique_ptr<ActionCall> RunExec(EventLoop* loop, const Action& action,
                                    const ActionTarget& target,
                                    absl::Duration timeout, ActionDone done) {
  std::vector<std::string> words = target.enter;
  words.insert(words.end(), action.command.begin(), action.command.end());
  auto call = std::make_unique<ExecCall>();
  auto command = Command::Start(
      loop, words, timeout,
      [done, timeout](absl::StatusOr<CommandResult> result) {
        if (!result.ok()) {
          done({false, StrCat("command timed out after ",
                              absl::FormatDuration(timeout))});
          return;
        }
        done({result->exit_code == 0, std::move(result->output)});
      });
  if (!command.ok()) {
    return Fail(loop, std::string(command.status().message()), done);
  }
  call->command = *std::move(command);
  return call;
}

}  // namespace

std::unique_ptr<ActionCall> RunAction(EventLoop* loop, const Action& action,
                                      const ActionTarget& target,
                                      absl::Duration timeout,
                                      ActionDone done) {
  const std::string& host = action.host.empty() ? target.host : action.host;
  switch (action.type) {
    case Action::Type::kExec:
      return RunExec(loop, action, target, timeout, std::move(done));
    case Action::Type::kHttpGet:
    case Action::Type::kTcpSocket:
    case Action::Type::kGrpc:
      if (const std::string why = NoPeer(action, host); !why.empty())
        return Fail(loop, why, std::move(done));
      return (action.type == Action::Type::kGrpc ? RunGrpcCheck
                                                 : RunNetworkCall)(
          loop, action, host, timeout, std::move(done));
    case Action::Type::kSleep:
      return std::make_unique<DelayedCall>(loop, action.sleep,
                                           ActionResult{true, ""},
                                           std::move(done));
    case Action::Type::kNone:
      break;
  }
  return Fail(loop, "missing probe handler", std::move(done));
}

}  // namespace fairlead::kubelet
