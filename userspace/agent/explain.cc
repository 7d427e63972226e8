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
  // How the trials ended, each way once, the likeliest first.
  struct End {
    TrialOutcome outcome;
    uint32_t trials = 0;
  };
  std::vector<End> ends;
  std::optional<FrontendView> frontend;
  std::optional<model::ExplainedFrontend> model;
  std::vector<uint32_t> candidates;  // ids of backends that are ON
  std::vector<L4Address> endpoints;  // their addresses
  std::vector<datapath::TrialObstacles> obstacles;  // to each
  // That the destination is of, as the programs know it.
  std::optional<IpPrefix> service_range;

  bool external() const { return !datapath::UsesInternal(client); }
  model::EndpointSet set() const {
    return external() ? model->sets.external : model->sets.internal;
  }
  const TrialOutcome& outcome() const { return ends.front().outcome; }
  bool is_new() const {
    return FirstCounter(outcome()) == FL_COUNTER_FORWARD_NEW;
  }
  static uint32_t FirstCounter(const TrialOutcome& outcome) {
    return outcome.steps.front().counter;
  }
};

uint32_t Since(uint32_t now, uint32_t then) {
  return now > then ? now - then : 0;
}

L4Address AddressOf(const fl_backend& backend) {
  return {reconcile::FromAbi(backend.addr), be16toh(backend.port),
          static_cast<Protocol>(backend.proto)};
}

std::string BackendAddress(const Agent& agent, uint32_t id) {
  const std::optional<fl_backend> backend = agent.reconciler().FindBackend(id);
  return backend.has_value() ? HostPort(AddressOf(*backend)) : "";
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
    if (!IsOn(agent, id)) continue;
    found->candidates.push_back(id);
    found->endpoints.push_back(
        AddressOf(*agent.reconciler().FindBackend(id)));
  }
}

// The counter that settled it: the first that isn't "not ours".
uint32_t DecisiveCounter(const TrialOutcome& outcome) {
  for (const TrialOutcome::Step& step : outcome.steps) {
    if (step.counter != FL_COUNTER_NOT_OURS) return step.counter;
  }
  return FL_COUNTER_NOT_OURS;
}

bool IsMasqueraded(const Case& found, const TrialOutcome& outcome) {
  return outcome.steps.back().counter == FL_COUNTER_SOURCE_TRANSLATED &&
         outcome.source != found.packet.source;
}

bool SameWay(const TrialOutcome& a, const TrialOutcome& b) {
  return a.verdict == b.verdict && DecisiveCounter(a) == DecisiveCounter(b);
}

// Was an endpoint looked for?
bool IsOpening(const TrialOutcome& outcome) {
  const uint32_t counter = Case::FirstCounter(outcome);
  return counter == FL_COUNTER_FORWARD_NEW ||
         counter == FL_COUNTER_REJECT_NO_PORT ||
         counter == FL_COUNTER_DROP_TUPLE_CLASH;
}

bool FollowsAffinity(const TrialOutcome& outcome) {
  return outcome.affinity.has_value() &&
         outcome.affinity->backend_id == outcome.backend_id;
}

// May other flows decide where this one goes? Half of the ports leave room
// enough for the program's tries.
bool IsContested(const PacketTrial& trial, const Case& found) {
  for (const datapath::TrialObstacles& obstacles : found.obstacles) {
    if (obstacles.other_flow.has_value() ||
        obstacles.source_ports >= trial.SourcePorts() / 2) {
      return true;
    }
  }
  return false;
}

void AddEnd(TrialOutcome outcome, std::vector<Case::End>* ends) {
  for (Case::End& end : *ends) {
    if (SameWay(end.outcome, outcome) &&
        end.outcome.destination == outcome.destination) {
      ++end.trials;
      return;
    }
  }
  ends->push_back({std::move(outcome), 1});
}

// The ways that it may end, with one end of each way first.
void SortEnds(std::vector<Case::End>* ends) {
  auto trials = [ends](const Case::End& end) {
    uint32_t sum = 0;
    for (const Case::End& other : *ends) {
      if (SameWay(other.outcome, end.outcome)) sum += other.trials;
    }
    return sum;
  };
  std::vector<std::pair<uint32_t, Case::End>> ranked;
  for (const Case::End& end : *ends) ranked.push_back({trials(end), end});
  std::stable_sort(
      ranked.begin(), ranked.end(),
      [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = 0; i < ranked.size(); ++i) {
    (*ends)[i] = std::move(ranked[i].second);
  }
}

absl::Status RunTrials(const Agent& agent, PacketTrial* trial, Case* found) {
  datapath::TrialService service;
  if (AnswersOn(agent, *found)) service.id = found->frontend->value.id;
  const bool may_open =
      !found->packet.from_host &&
      (found->packet.opening ||
       found->packet.destination.protocol == Protocol::kUdp);
  if (may_open) service.endpoints = found->endpoints;
  FL_ASSIGN_OR_RETURN(found->obstacles,
                      trial->Prepare(found->packet, service));
  FL_ASSIGN_OR_RETURN(TrialOutcome first, trial->Run());
  const bool opening = IsOpening(first);
  const bool contested = IsContested(*trial, *found);
  const bool decided = FollowsAffinity(first) && !contested;
  AddEnd(std::move(first), &found->ends);
  if (!opening || decided) return absl::OkStatus();
  const size_t runs =
      contested ? kMaxRuns
                : std::min(kMaxRuns,
                           found->candidates.size() * kRunsPerCandidate);
  for (size_t i = 1; i < runs; ++i) {
    if (!contested && found->ends.size() >= found->candidates.size()) break;
    FL_ASSIGN_OR_RETURN(TrialOutcome next, trial->Run());
    AddEnd(std::move(next), &found->ends);
  }
  SortEnds(&found->ends);
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

// What other flows have that a new one would need.
std::string ObstacleText(const Case& found, size_t candidate,
                         uint32_t source_ports) {
  const datapath::TrialObstacles& obstacles = found.obstacles[candidate];
  bool reached = false, masquerades = false;
  for (const Case::End& end : found.ends) {
    reached |= end.outcome.verdict == TrialOutcome::Verdict::kPassed &&
               end.outcome.destination == found.endpoints[candidate];
    masquerades |= IsMasqueraded(found, end.outcome) ||
                   DecisiveCounter(end.outcome) == FL_COUNTER_REJECT_NO_PORT;
  }
  if (obstacles.other_flow.has_value() && !reached) {
    return StrCat("another flow has this tuple: ",
                  HostPort(found.packet.source), " -> ",
                  HostPort(*obstacles.other_flow));
  }
  if (!masquerades || obstacles.source_ports < source_ports / 2) return "";
  return StrCat(obstacles.source_ports, " of ", source_ports,
                " source ports are in use");
}

void FillObstacles(const Case& found, uint32_t source_ports,
                   v1::ExplainReply* reply) {
  for (size_t i = 0; i < found.obstacles.size(); ++i) {
    const std::string text = ObstacleText(found, i, source_ports);
    if (text.empty()) continue;
    const std::string address = HostPort(found.endpoints[i]);
    for (v1::ExplainedEndpoint& endpoint : *reply->mutable_endpoints()) {
      if (endpoint.address() == address) endpoint.set_obstacle(text);
    }
  }
}

void FillTranslations(const Agent& agent, const Case& found,
                      v1::ExplainReply* reply) {
  for (const Case::End& end : found.ends) {
    const TrialOutcome& outcome = end.outcome;
    const TrialPacket& packet = found.packet;
    if (outcome.verdict != TrialOutcome::Verdict::kPassed) continue;
    const bool source_changed = outcome.source != packet.source;
    if (!source_changed && outcome.destination == packet.destination) continue;
    v1::ExplainedTranslation* out = reply->add_translations();
    out->set_destination(HostPort(outcome.destination));
    const bool masqueraded = IsMasqueraded(found, outcome);
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
  const TrialOutcome& outcome = found.outcome();
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

std::string ReasonText(const Agent& agent, const Case& found,
                       const TrialOutcome& outcome) {
  const uint32_t counter = DecisiveCounter(outcome);
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

void AddCounter(fl_hook hook, uint32_t id, v1::ExplainedCounter* out) {
  out->set_hook(std::string(datapath::HookName(hook)));
  out->set_name(datapath::CounterName(id));
  out->set_text(std::string(datapath::CounterText(id)));
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
  // Nobody outside of this node has a socket on it. REQUIRES: the packet path's
  // verdict.
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
  v1::ExplainedSocketPath* out = reply->mutable_socket_path();
  out->set_decision(std::string(decision.decision));
  out->set_reason(WithRange(agent, found, decision.reason));
  out->set_verdict(decision.decision == "translated" ? "forwarded"
                   : decision.decision == "refused"
                       ? "refused"
                       : reply->packet_path().verdict());
  AddCounter(FL_HOOK_SOCKET, decision.counter, out->add_counters());
}

void FillVerdict(const Agent& agent, const Case& found,
                 const TrialOutcome& outcome, v1::ExplainedVerdict* out) {
  out->set_verdict(std::string(VerdictText(outcome)));
  out->set_reason(ReasonText(agent, found, outcome));
  for (const TrialOutcome::Step& step : outcome.steps) {
    AddCounter(step.hook, step.counter, out->add_counters());
  }
}

void FillPacketPath(const Agent& agent, const Case& found,
                    v1::ExplainReply* reply) {
  std::vector<const TrialOutcome*> seen;
  for (const Case::End& end : found.ends) {
    const bool again = std::any_of(
        seen.begin(), seen.end(),
        [&end](const auto* other) { return SameWay(*other, end.outcome); });
    if (again) continue;
    FillVerdict(agent, found, end.outcome,
                seen.empty() ? reply->mutable_packet_path()
                             : reply->add_packet_path_else());
    seen.push_back(&end.outcome);
  }
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
  FL_RETURN_IF_ERROR(RunTrials(agent, trial, &found));

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
    FillObstacles(found, trial->SourcePorts(), reply);
  }
  FillTranslations(agent, found, reply);
  FillChoice(agent, found, now_seconds, reply);
  FillPacketPath(agent, found, reply);
  FillSocketPath(agent, found, reply);
  return absl::OkStatus();
}

}  // namespace fairlead::agent
