// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/explain.h"

#include <net/if.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "userspace/agent/explain_text.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/inspect.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::agent {
namespace {

namespace v1 = admin::v1;
using datapath::PacketTrial;
using datapath::TrialOutcome;
using datapath::TrialPacket;
using FrontendView = reconcile::Reconciler::FrontendView;

// The program chooses at random: enough runs to see what it does with each of
// a few candidates, and with most of many.
constexpr size_t kRunsPerCandidate = 16;
constexpr size_t kMaxRuns = 256;
// Where a client's port is looked for that no live flow has.
constexpr Port kFirstClientPort = 49152;
constexpr Port kClientPorts = 1024;

// All that is known about the packet, as it is gathered.
struct Case {
  TrialPacket packet;
  datapath::ClientKind client = datapath::ClientKind::kOutside;
  TrialOutcome outcome;                // of the first run
  std::vector<TrialOutcome> outcomes;  // one for each destination
  std::optional<FrontendView> frontend;
  std::optional<model::ExplainedFrontend> model;
  std::vector<uint32_t> candidates;  // ids of backends that are ON
  // That the destination is of, as the programs know it.
  std::optional<IpPrefix> service_range;

  bool external() const { return !datapath::UsesInternal(client); }
  model::EndpointSet set() const {
    return external() ? model->sets.external : model->sets.internal;
  }
  bool is_new() const {
    return !outcome.steps.empty() &&
           outcome.steps.front().counter == FL_COUNTER_FORWARD_NEW;
  }
};

uint32_t Since(uint32_t now, uint32_t then) {
  return now > then ? now - then : 0;
}

std::string BackendAddress(const Agent& agent, uint32_t id) {
  const std::optional<fl_backend> backend = agent.reconciler().FindBackend(id);
  if (!backend.has_value()) return "";
  return HostPort({reconcile::FromAbi(backend->addr), be16toh(backend->port),
                   static_cast<Protocol>(backend->proto)});
}

absl::Status ParseRequest(const v1::ExplainRequest& request,
                          TrialPacket* packet) {
  std::string name = request.protocol();
  for (char& c : name) c = static_cast<char>(toupper(c));
  std::optional<Protocol> protocol = ParseProtocol(name);
  if (!protocol.has_value()) {
    return absl::InvalidArgumentError(
        StrCat("protocol \"", request.protocol(), "\": tcp, udp or sctp"));
  }
  auto client = ParseL4Address(request.client(), *protocol);
  FL_RETURN_IF_ERROR(WithContext(client.status(), "client"));
  auto destination = ParseL4Address(request.destination(), *protocol);
  FL_RETURN_IF_ERROR(WithContext(destination.status(), "destination"));
  if (destination->port == 0) {
    return absl::InvalidArgumentError("destination: which port?");
  }
  if (client->address.family() != destination->address.family()) {
    return absl::InvalidArgumentError(
        "client and destination are not of one address family");
  }
  packet->source = *client;
  packet->destination = *destination;
  if (request.device().empty()) return absl::OkStatus();
  packet->ifindex = static_cast<int>(if_nametoindex(request.device().c_str()));
  if (packet->ifindex > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("no device ", request.device(), " on this node"));
}

// A port for a new connection; the packet's own if it has one.
absl::Status ChoosePort(const PacketTrial& trial, TrialPacket* packet) {
  if (packet->source.port != 0) return absl::OkStatus();
  for (Port i = 0; i < kClientPorts; ++i) {
    packet->source.port = kFirstClientPort + i;
    FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow, trial.LiveFlow(*packet));
    if (!flow.has_value()) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      "this client has a thousand flows to this address: give a port");
}

// As the programs look it up: the address itself, then a NodePort.
std::optional<FrontendView> FindFrontend(const Agent& agent,
                                         const L4Address& destination) {
  auto view = agent.reconciler().FindFrontend(destination);
  if (view.has_value()) return view;
  return agent.reconciler().FindFrontend(
      {IpAddress::Unspecified(destination.address.family()), destination.port,
       destination.protocol});
}

bool TakesNodePorts(const Agent& agent, const IpAddress& address) {
  const auto& own = agent.cluster().node().addresses;
  return std::any_of(own.begin(), own.end(),
                     [&](const model::NodeAddress& node) {
                       return node.address == address && node.node_port;
                     });
}

// Is the frontend that was found by its port the destination's, too?
bool AnswersOn(const Agent& agent, const Case& found) {
  return found.frontend.has_value() &&
         (!found.frontend->address.address.is_unspecified() ||
          TakesNodePorts(agent, found.packet.destination.address));
}

bool IsOn(const Agent& agent, uint32_t id) {
  const std::optional<fl_backend> backend = agent.reconciler().FindBackend(id);
  return backend.has_value() && backend->state == FL_BACKEND_ON;
}

void FindCandidates(const Agent& agent, Case* found) {
  if (!found->frontend.has_value()) return;
  for (uint32_t id : found->external() ? found->frontend->external
                                       : found->frontend->internal) {
    if (IsOn(agent, id)) found->candidates.push_back(id);
  }
}

absl::Status RunTrials(PacketTrial* trial, Case* found) {
  FL_ASSIGN_OR_RETURN(found->outcome, trial->Run(found->packet));
  found->outcomes.push_back(found->outcome);
  if (!found->is_new() || found->outcome.affinity.has_value()) {
    return absl::OkStatus();
  }
  std::set<L4Address> seen = {found->outcome.destination};
  const size_t runs =
      std::min(kMaxRuns, found->candidates.size() * kRunsPerCandidate);
  for (size_t i = 1; i < runs && seen.size() < found->candidates.size(); ++i) {
    FL_ASSIGN_OR_RETURN(TrialOutcome next, trial->Run(found->packet));
    if (seen.insert(next.destination).second) {
      found->outcomes.push_back(std::move(next));
    }
  }
  return absl::OkStatus();
}

void FillFrontend(const Case& found, v1::ExplainReply* reply) {
  const FrontendView& view = *found.frontend;
  v1::ExplainedFrontend* out = reply->mutable_frontend();
  out->set_service(std::string(view.service));
  out->set_port(std::string(view.port));
  out->set_type(std::string(model::FrontendKindName(view.kind)));
  out->set_id(view.value.id);
  const bool any = view.address.address.is_unspecified();
  out->set_address(any ? StrCat("*:", view.address.port, "/",
                                ProtocolName(view.address.protocol))
                       : view.address.ToString());
}

void FillPolicy(const Agent& agent, const Case& found,
                v1::ExplainReply* reply) {
  v1::ExplainedPolicy* out = reply->mutable_policy();
  out->set_side(found.external() ? "external" : "internal");
  out->set_affinity_seconds(found.frontend->value.affinity_seconds);
  if (found.model.has_value()) {
    out->set_traffic_policy(PolicyText(*found.model, found.external()));
    out->set_endpoint_set(
        found.set() == model::EndpointSet::kLocal ? "local" : "cluster");
  }
  const kube::Service* service =
      agent.cluster().FindService(found.frontend->service);
  if ((found.frontend->value.flags & FL_SERVICE_SOURCE_RANGES) != 0 &&
      service != nullptr) {
    for (const IpPrefix& range : service->source_ranges) {
      out->add_source_ranges(range.ToString());
    }
  }
}

std::string StateText(const Agent& agent, uint32_t id) {
  const std::optional<fl_backend> backend = agent.reconciler().FindBackend(id);
  if (!backend.has_value()) return "";
  return std::string(datapath::BackendStateName(backend->state));
}

void FillEndpoints(const Agent& agent, const Case& found,
                   v1::ExplainReply* reply) {
  std::map<std::string, uint32_t> kernel;  // address -> id
  for (uint32_t id : found.external() ? found.frontend->external
                                      : found.frontend->internal) {
    kernel[BackendAddress(agent, id)] = id;
  }
  auto is_candidate = [&found](uint32_t id) {
    return std::find(found.candidates.begin(), found.candidates.end(), id) !=
           found.candidates.end();
  };
  auto add = [&](const std::string& address) {
    v1::ExplainedEndpoint* out = reply->add_endpoints();
    out->set_address(address);
    auto it = kernel.find(address);
    if (it == kernel.end()) return out;
    out->set_state(StateText(agent, it->second));
    out->set_candidate(is_candidate(it->second));
    kernel.erase(it);
    return out;
  };
  if (found.model.has_value()) {
    for (const model::ExplainedEndpoint& e : found.model->endpoints) {
      const model::EndpointStanding standing = e.in(found.set());
      v1::ExplainedEndpoint* out = add(HostPort(e.address));
      out->set_local(e.traits.local);
      out->set_in(model::IsIn(standing));
      out->set_reason(std::string(model::EndpointStandingText(standing)));
    }
  }
  // What the API has taken back and the kernel still has.
  while (!kernel.empty()) {
    add(kernel.begin()->first)->set_reason("gone from the API, not applied yet");
  }
}

void FillTranslations(const Agent& agent, const Case& found,
                      v1::ExplainReply* reply) {
  for (const TrialOutcome& outcome : found.outcomes) {
    const TrialPacket& packet = found.packet;
    if (outcome.verdict != TrialOutcome::Verdict::kPassed) continue;
    const bool source_changed = outcome.source != packet.source;
    if (!source_changed && outcome.destination == packet.destination) continue;
    v1::ExplainedTranslation* out = reply->add_translations();
    out->set_destination(HostPort(outcome.destination));
    const bool masqueraded =
        outcome.steps.back().counter == FL_COUNTER_SOURCE_TRANSLATED;
    out->set_masqueraded(masqueraded);
    // The port of a new flow is drawn when it is opened.
    out->set_source(masqueraded && found.is_new()
                        ? outcome.source.address.ToString()
                        : HostPort(outcome.source));
    if (found.model.has_value()) {
      out->set_reason(SourceReason(
          *found.model, found.client, agent.cluster().node(),
          outcome.destination.address == packet.source.address, masqueraded));
    }
  }
  std::sort(reply->mutable_translations()->begin(),
            reply->mutable_translations()->end(),
            [](const auto& a, const auto& b) {
              return a.destination() < b.destination();
            });
}

void FillChoice(const Agent& agent, const Case& found, uint32_t now,
                v1::ExplainReply* reply) {
  const TrialOutcome& outcome = found.outcome;
  if (outcome.followed.has_value()) {
    v1::ExplainedFlow* out = reply->mutable_flow();
    out->set_state(
        std::string(datapath::FlowStateName(outcome.followed->state)));
    out->set_endpoint(HostPort(outcome.destination));
    out->set_idle_seconds(Since(now, outcome.followed->last_seen));
    reply->set_chosen(out->endpoint());
    reply->set_chosen_by("live flow");
    return;
  }
  if (!found.is_new()) return;
  if (outcome.affinity.has_value()) {
    v1::ExplainedAffinity* out = reply->mutable_affinity();
    out->set_endpoint(BackendAddress(agent, outcome.affinity->backend_id));
    out->set_idle_seconds(Since(now, outcome.affinity->last_used));
    if (outcome.backend_id == outcome.affinity->backend_id) {
      reply->set_chosen(HostPort(outcome.destination));
      reply->set_chosen_by("session affinity");
      return;
    }
  }
  if (found.candidates.size() == 1) {
    reply->set_chosen(HostPort(outcome.destination));
    reply->set_chosen_by("only candidate");
  }
}

// The counter that settled it: the first that isn't "not ours".
uint32_t DecisiveCounter(const TrialOutcome& outcome) {
  for (const TrialOutcome::Step& step : outcome.steps) {
    if (step.counter != FL_COUNTER_NOT_OURS) return step.counter;
  }
  return FL_COUNTER_NOT_OURS;
}

std::string_view VerdictText(const TrialOutcome& outcome) {
  switch (outcome.verdict) {
    case TrialOutcome::Verdict::kRejected:
      return "refused";
    case TrialOutcome::Verdict::kDropped:
      return "dropped";
    case TrialOutcome::Verdict::kPassed:
      break;
  }
  return DecisiveCounter(outcome) == FL_COUNTER_NOT_OURS ? "passed"
                                                         : "forwarded";
}

// Which range it is, where that is why.
std::string WithRange(const Agent& agent, const Case& found,
                      std::string_view reason) {
  if (!found.service_range.has_value() || AnswersOn(agent, found)) {
    return std::string(reason);
  }
  return StrCat(reason, " (", found.service_range->ToString(), ")");
}

std::string ReasonText(const Agent& agent, const Case& found) {
  const uint32_t counter = DecisiveCounter(found.outcome);
  const IpAddress& address = found.packet.destination.address;
  if (counter != FL_COUNTER_NOT_OURS || !found.frontend.has_value()) {
    return WithRange(agent, found, datapath::CounterText(counter));
  }
  if (found.frontend->address.address.is_unspecified() &&
      !TakesNodePorts(agent, address)) {
    return StrCat("NodePort ", found.packet.destination.port,
                  " does not answer on ", address.ToString(),
                  ": not one of this node's NodePort addresses");
  }
  return found.packet.from_host
             ? "sent by this node itself: only the socket path translates it"
             : std::string(datapath::CounterText(counter));
}

bool HasFrontends(const Agent& agent, const IpAddress& address) {
  bool any = false;
  agent.reconciler().ForEachFrontend([&](const FrontendView& view) {
    any |= view.address.address == address;
  });
  return any;
}

void FillSocketPath(const Agent& agent, const Case& found,
                    v1::ExplainReply* reply) {
  // Nobody outside of this node has a socket on it.
  if (!agent.config().cgroup_root.has_value() || found.external()) return;
  const L4Address& destination = found.packet.destination;
  SocketCase socket;
  socket.protocol = destination.protocol;
  socket.host = found.client == datapath::ClientKind::kHost;
  socket.loopback = destination.address.is_loopback();
  if (AnswersOn(agent, found)) {
    socket.service = &found.frontend->value;
    for (uint32_t id : found.frontend->internal) {
      socket.any_backend_on |= IsOn(agent, id);
    }
  } else {
    socket.service_range = found.service_range.has_value();
    socket.other_frontends =
        socket.service_range && HasFrontends(agent, destination.address);
  }
  const SocketDecision decision = DecideSocket(socket);
  reply->mutable_socket_path()->set_decision(std::string(decision.decision));
  reply->mutable_socket_path()->set_reason(
      WithRange(agent, found, decision.reason));
}

void FillVerdict(const Agent& agent, const Case& found,
                 v1::ExplainReply* reply) {
  reply->set_verdict(std::string(VerdictText(found.outcome)));
  reply->set_reason(ReasonText(agent, found));
  for (const TrialOutcome::Step& step : found.outcome.steps) {
    v1::ExplainedCounter* out = reply->add_counters();
    out->set_hook(std::string(datapath::HookName(step.hook)));
    out->set_name(datapath::CounterName(step.counter));
    out->set_text(std::string(datapath::CounterText(step.counter)));
  }
  // This node's own sockets are translated before there is a packet.
  if (!found.packet.from_host || !reply->has_socket_path()) return;
  const std::string& decision = reply->socket_path().decision();
  if (decision != "translated" && decision != "refused") return;
  reply->set_verdict(decision == "refused" ? "refused" : "forwarded");
  reply->set_reason(
      StrCat("socket path: ", decision, ", ", reply->socket_path().reason()));
  reply->clear_counters();
  v1::ExplainedCounter* out = reply->add_counters();
  const uint32_t id = decision == "refused" ? FL_COUNTER_SOCKET_REFUSED
                                            : FL_COUNTER_SOCKET_TRANSLATED;
  out->set_hook(std::string(datapath::HookName(FL_HOOK_SOCKET)));
  out->set_name(datapath::CounterName(id));
  out->set_text(std::string(datapath::CounterText(id)));
}

}  // namespace

absl::Status FillExplain(const Agent& agent, PacketTrial* trial,
                         const v1::ExplainRequest& request,
                         uint32_t now_seconds, v1::ExplainReply* reply) {
  Case found;
  FL_RETURN_IF_ERROR(ParseRequest(request, &found.packet));
  FL_RETURN_IF_ERROR(ChoosePort(*trial, &found.packet));
  FL_ASSIGN_OR_RETURN(found.client, trial->Client(found.packet));
  found.packet.from_host = found.client == datapath::ClientKind::kHost;
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> live,
                      trial->LiveFlow(found.packet));
  found.packet.opening = !live.has_value() || request.new_connection();
  found.frontend = FindFrontend(agent, found.packet.destination);
  FL_ASSIGN_OR_RETURN(
      found.service_range,
      trial->ServiceRange(found.packet.destination.address));
  FindCandidates(agent, &found);
  FL_RETURN_IF_ERROR(RunTrials(trial, &found));

  reply->set_protocol(
      std::string(ProtocolName(found.packet.destination.protocol)));
  reply->set_client(HostPort(found.packet.source));
  reply->set_destination(HostPort(found.packet.destination));
  reply->set_packet(found.packet.opening
                        ? "the first of a connection"
                        : "in the midst of the live connection");
  reply->set_client_kind(std::string(datapath::ClientKindName(found.client)));
  reply->set_client_kind_reason(
      std::string(datapath::ClientKindReason(found.client, trial->config())));
  if (AnswersOn(agent, found)) {
    found.model = agent.cluster().Explain(found.frontend->service,
                                          found.frontend->address);
    FillFrontend(found, reply);
    FillPolicy(agent, found, reply);
    FillEndpoints(agent, found, reply);
  }
  FillTranslations(agent, found, reply);
  FillChoice(agent, found, now_seconds, reply);
  FillSocketPath(agent, found, reply);
  FillVerdict(agent, found, reply);
  return absl::OkStatus();
}

}  // namespace fairlead::agent
