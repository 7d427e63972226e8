// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/agent_session.h"

#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <chrono>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/box.h"

namespace fairlead::cli {
namespace {

namespace v1 = admin::v1;

constexpr char kDefaultSocket[] = "/run/fairlead/agent.sock";
constexpr auto kTimeout = std::chrono::seconds(30);

// gRPC's codes are Abseil's, by number.
absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      StrCat("agent: ", status.error_message()));
}

template <typename Reply, typename Request, typename Method>
absl::StatusOr<Reply> Unary(v1::Agent::Stub& stub, Method method,
                            const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  Reply reply;
  FL_RETURN_IF_ERROR(FromGrpc((stub.*method)(&context, request, &reply)));
  return reply;
}

template <typename Item, typename Request, typename Method>
absl::Status ServerStream(v1::Agent::Stub& stub, Method method,
                          const Request& request,
                          const std::function<void(const Item&)>& each) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  std::unique_ptr<grpc::ClientReader<Item>> reader =
      (stub.*method)(&context, request);
  Item item;
  while (reader->Read(&item)) each(item);
  return FromGrpc(reader->Finish());
}

}  // namespace

absl::StatusOr<AgentSession> AgentSession::Open(const std::string& socket) {
  if (access(socket.c_str(), R_OK | W_OK) != 0) {
    return absl::UnavailableError(
        StrCat("no agent at ", socket, ": ",
               ErrnoStatus(errno, "open", socket).message()));
  }
  AgentSession session;
  // A table of 100,000 backends is over gRPC's default of 4 MiB.
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  session.stub_ = v1::Agent::NewStub(grpc::CreateCustomChannel(
      "unix:" + socket, grpc::InsecureChannelCredentials(), arguments));
  return session;
}

absl::StatusOr<v1::StatusReply> AgentSession::Status() {
  return Unary<v1::StatusReply>(*stub_, &v1::Agent::Stub::Status,
                                v1::StatusRequest());
}
absl::StatusOr<v1::ListServicesReply> AgentSession::ListServices(
    const v1::ListServicesRequest& request) {
  return Unary<v1::ListServicesReply>(*stub_, &v1::Agent::Stub::ListServices,
                                      request);
}
absl::StatusOr<v1::ListBackendsReply> AgentSession::ListBackends(
    const v1::ListBackendsRequest& request) {
  return Unary<v1::ListBackendsReply>(*stub_, &v1::Agent::Stub::ListBackends,
                                      request);
}
absl::StatusOr<v1::CountersReply> AgentSession::Counters(
    const v1::CountersRequest& request) {
  return Unary<v1::CountersReply>(*stub_, &v1::Agent::Stub::Counters, request);
}
absl::StatusOr<v1::ExplainReply> AgentSession::Explain(
    const v1::ExplainRequest& request) {
  return Unary<v1::ExplainReply>(*stub_, &v1::Agent::Stub::Explain, request);
}
absl::Status AgentSession::ListFlows(
    const v1::ListFlowsRequest& request,
    const std::function<void(const v1::Flow&)>& each) {
  return ServerStream<v1::Flow>(*stub_, &v1::Agent::Stub::ListFlows, request,
                                each);
}
absl::Status AgentSession::DumpMap(
    const v1::DumpMapRequest& request,
    const std::function<void(const v1::MapEntry&)>& each) {
  return ServerStream<v1::MapEntry>(*stub_, &v1::Agent::Stub::DumpMap, request,
                                    each);
}

absl::StatusOr<AgentSession> OpenAgent(const AgentChoice& choice) {
  if (!choice.socket.empty()) return AgentSession::Open(choice.socket);
  bool boxed = !choice.cluster.empty() || !choice.node.empty();
  if (!boxed && access(kDefaultSocket, F_OK) == 0)
    return AgentSession::Open(kDefaultSocket);
  Box box;
  std::vector<std::string> boxes = ListBoxes(box.root);
  if (!choice.cluster.empty()) {
    box.name = choice.cluster;
  } else if (boxes.size() == 1) {
    box.name = boxes[0];
  } else if (boxes.empty()) {
    return absl::UnavailableError(
        StrCat("no agent at ", kDefaultSocket,
               " and no cluster in a box: give --socket, or start one with: "
               "fairleadctl cluster up"));
  } else {
    return absl::InvalidArgumentError(
        "several clusters run here: choose one with --cluster");
  }
  std::string node = choice.node.empty() ? "node-1" : choice.node;
  return AgentSession::Open(StrCat(box.Dir(), "/", node, "/agent.sock"));
}

}  // namespace fairlead::cli
