// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/explain_command.h"

#include <cstdio>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/message_json.h"
#include "userspace/cli/output.h"

namespace fairlead::cli {
namespace {

namespace v1 = admin::v1;

constexpr size_t kLabelWidth = 14;
constexpr char kUsageText[] =
    "explain: say it like: explain tcp 10.0.0.1 to 10.96.0.1:80 (an unquoted "
    "-> is the shell's redirection)";

void Line(const std::string& label, const std::string& text,
          std::string* out) {
  const size_t padding =
      label.size() < kLabelWidth ? kLabelWidth - label.size() : 1;
  StrAppend(out, label, std::string(padding, ' '), text, "\n");
}

// A block of rows below its label.
void Table(const std::string& label, const TextTable& table,
           std::string* out) {
  if (table.rows() == 0) return;
  StrAppend(out, label, "\n");
  const std::string text = table.ToString();
  for (absl::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    StrAppend(out, "  ", line, "\n");
  }
}

bool IsThrough(const std::string& verdict) {
  return verdict == "passed" || verdict == "forwarded";
}

std::string ColoredVerdict(const std::string& verdict) {
  return Colored(IsThrough(verdict) ? Color::kGreen : Color::kRed, verdict);
}

template <typename Counters>
std::string CountersText(const Counters& counters) {
  std::vector<std::string> names;
  for (const v1::ExplainedCounter& c : counters) {
    names.push_back(StrCat(c.hook(), " ", c.name()));
  }
  return StrCat("; counts ", absl::StrJoin(names, ", "));
}

std::string VerdictLine(const v1::ExplainedVerdict& verdict) {
  return StrCat(ColoredVerdict(verdict.verdict()), ": ", verdict.reason(),
                CountersText(verdict.counters()));
}

std::string SocketPathLine(const v1::ExplainedSocketPath& path) {
  const bool decides =
      path.decision() == "translated" || path.decision() == "refused";
  return StrCat(ColoredVerdict(path.verdict()), ": ",
                decides ? path.decision() : "left to the packet path", ", ",
                path.reason(), CountersText(path.counters()));
}

// What a client of this sort gets that begins now; else what the packet does.
const std::string& DecisiveVerdict(const v1::ExplainReply& reply) {
  return reply.has_socket_path() && !reply.has_flow()
             ? reply.socket_path().verdict()
             : reply.packet_path().verdict();
}

std::string FrontendLine(const v1::ExplainReply& reply) {
  if (!reply.has_frontend()) return "none: no Service has this address";
  const v1::ExplainedFrontend& f = reply.frontend();
  return StrCat(f.service(), f.port().empty() ? "" : ":", f.port(), ", ",
                f.type(), " ", f.address());
}

std::string PolicyLine(const v1::ExplainedPolicy& policy) {
  std::string text =
      StrCat(policy.traffic_policy(), " (", policy.side(), " client, ",
             policy.endpoint_set(), " endpoints)");
  if (policy.source_ranges_size() > 0) {
    StrAppend(&text, "; only from ", absl::StrJoin(policy.source_ranges(), ","));
  }
  if (policy.affinity_seconds() > 0) {
    StrAppend(&text, "; session affinity ",
              ShortDuration(policy.affinity_seconds()));
  }
  return text;
}

std::string ChosenLine(const v1::ExplainReply& reply) {
  std::string text = StrCat(reply.chosen(), ", by ", reply.chosen_by());
  if (reply.has_flow()) {
    StrAppend(&text, " (", reply.flow().state(), ", idle ",
              ShortDuration(reply.flow().idle_seconds()), ")");
  }
  return text;
}

TextTable Endpoints(const v1::ExplainReply& reply) {
  TextTable table({"ENDPOINT", "IN", "WHY", "KERNEL", "LOCAL"});
  for (const v1::ExplainedEndpoint& e : reply.endpoints()) {
    table.AddRow({e.address(), e.in() ? "yes" : "no", e.reason(), e.state(),
                  e.local() ? "yes" : "no"});
  }
  return table;
}

TextTable Translations(const v1::ExplainReply& reply) {
  TextTable table({"TO", "FROM", "MASQUERADED", "WHY"});
  for (const v1::ExplainedTranslation& t : reply.translations()) {
    table.AddRow({t.destination(), t.source(), t.masqueraded() ? "yes" : "no",
                  t.reason()});
  }
  return table;
}

TextTable Obstacles(const v1::ExplainReply& reply) {
  TextTable table({"ENDPOINT", "WHY"});
  for (const v1::ExplainedEndpoint& e : reply.endpoints()) {
    if (!e.obstacle().empty()) table.AddRow({e.address(), e.obstacle()});
  }
  return table;
}

}  // namespace

absl::StatusOr<v1::ExplainRequest> ParseExplainWords(
    const std::vector<std::string>& words) {
  std::vector<std::string> parts;
  for (const std::string& word : words) {
    for (absl::string_view part :
         absl::StrSplit(word, ' ', absl::SkipEmpty())) {
      if (part != "->" && part != "to") parts.emplace_back(part);
    }
  }
  if (parts.size() != 3) return absl::InvalidArgumentError(kUsageText);
  v1::ExplainRequest request;
  request.set_protocol(parts[0]);
  request.set_client(parts[1]);
  request.set_destination(parts[2]);
  return request;
}

std::string ExplainText(const v1::ExplainReply& reply) {
  std::string out;
  Line("Packet",
       StrCat(reply.protocol(), " ", reply.client(), " -> ",
              reply.destination(), ", ", reply.packet()),
       &out);
  Line("Client", StrCat(reply.client_kind(), ": ", reply.client_kind_reason()),
       &out);
  Line("Frontend", FrontendLine(reply), &out);
  if (reply.has_policy()) Line("Policy", PolicyLine(reply.policy()), &out);
  if (reply.has_socket_path()) {
    Line("Socket path", SocketPathLine(reply.socket_path()), &out);
  }
  Line("Packet path", VerdictLine(reply.packet_path()), &out);
  for (const v1::ExplainedVerdict& verdict : reply.packet_path_else()) {
    Line("  or", VerdictLine(verdict), &out);
  }
  if (!reply.chosen().empty()) Line("Goes to", ChosenLine(reply), &out);
  if (reply.has_affinity() && reply.chosen_by() != "session affinity") {
    Line("Affinity",
         StrCat("to ", reply.affinity().endpoint(), ", no longer followed"),
         &out);
  }
  Table("Endpoints", Endpoints(reply), &out);
  Table("In the way", Obstacles(reply), &out);
  Table("Translation on the packet path", Translations(reply), &out);
  return out;
}

absl::Status Explain(AgentSession& agent, const v1::ExplainRequest& request,
                     bool json) {
  FL_ASSIGN_OR_RETURN(v1::ExplainReply reply, agent.Explain(request));
  const std::string text =
      json ? MessageJson(reply, true) : ExplainText(reply);
  std::fputs(text.c_str(), stdout);
  const std::string& verdict = DecisiveVerdict(reply);
  if (IsThrough(verdict)) return absl::OkStatus();
  return absl::FailedPreconditionError(StrCat("it would be ", verdict));
}

}  // namespace fairlead::cli
