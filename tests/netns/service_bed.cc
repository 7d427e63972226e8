// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/service_bed.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/harness/spawn.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr char kNodeIps[] = "172.31.1.2,fd31:1::2";
constexpr Port kServicePort = 80;
constexpr Port kMorePort = 81;
constexpr int kFirstNodePort = 30000;
constexpr int kHealthPort = 10256;
constexpr int kMetricsPort = 10249;

std::string Quoted(const std::string& text) { return StrCat("\"", text, "\""); }

std::string QuotedList(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(Quoted(word));
  return StrCat("[", absl::StrJoin(quoted, ","), "]");
}

std::string VipText(int number, Way way, IpFamily family) {
  return FrontendOf(number, way, family, Protocol::kTcp).address.ToString();
}

std::string BothFamilies(int number, Way way) {
  return QuotedList({VipText(number, way, IpFamily::kIpv4),
                     VipText(number, way, IpFamily::kIpv6)});
}

std::vector<std::string> Protocols(const ServiceSpec& spec) {
  std::vector<std::string> protocols = {"TCP", "UDP"};
  if (spec.sctp) protocols.push_back("SCTP");
  return protocols;
}

// `more`: further fields.
std::string PortJson(const std::string& name, const std::string& protocol,
                     int number, const std::string& more = "") {
  return StrCat(R"({"name":)", Quoted(absl::AsciiStrToLower(name)),
                R"(,"protocol":)", Quoted(protocol), R"(,"port":)", number,
                more, "}");
}

// `more`: further fields of those that everything but port 81 has.
std::string ServicePorts(const ServiceSpec& spec, const std::string& more) {
  std::vector<std::string> ports;
  for (const std::string& protocol : Protocols(spec)) {
    ports.push_back(PortJson(protocol + spec.port_names, protocol,
                             kServicePort, more));
    if (!spec.more_ports) continue;
    ports.push_back(PortJson("more-" + protocol, protocol, kMorePort));
  }
  return StrCat("[", absl::StrJoin(ports, ","), "]");
}

std::string SlicePorts(const ServiceSpec& spec) {
  std::vector<std::string> ports;
  for (const std::string& protocol : Protocols(spec)) {
    for (const std::string& names : spec.slice_port_names) {
      ports.push_back(PortJson(protocol + names, protocol,
                               EndpointServer::kPort));
    }
    if (!spec.more_ports) continue;
    ports.push_back(PortJson("more-" + protocol, protocol,
                             EndpointServer::kPort));
  }
  return StrCat("[", absl::StrJoin(ports, ","), "]");
}

std::string LoadBalancerStatus(const ServiceSpec& spec) {
  if (spec.type != "LoadBalancer") return "{}";
  const int number = spec.vip != 0 ? spec.vip : spec.number;
  return StrCat(R"({"ingress":[{"ip":)",
                Quoted(VipText(number, Way::kLoadBalancer, IpFamily::kIpv4)),
                R"(},{"ip":)",
                Quoted(VipText(number, Way::kLoadBalancer, IpFamily::kIpv6)),
                "}]}");
}

std::string AffinityFields(const ServiceSpec& spec) {
  if (spec.affinity_seconds == 0) return "";
  return StrCat(R"("sessionAffinity":"ClientIP",)"
                R"("sessionAffinityConfig":{"clientIP":)"
                R"({"timeoutSeconds":)",
                spec.affinity_seconds, "}},");
}

// Of each port.
std::string NodePortField(const ServiceSpec& spec) {
  if (spec.type != "NodePort" && spec.type != "LoadBalancer") return "";
  return StrCat(R"(,"nodePort":)", spec.node_port != 0
                                       ? spec.node_port
                                       : kFirstNodePort + spec.number);
}

std::string OptionalFields(const ServiceSpec& spec) {
  std::string fields;
  if (spec.health_check_port != 0) {
    StrAppend(&fields, R"("healthCheckNodePort":)", spec.health_check_port,
              ",");
  }
  if (!spec.traffic_distribution.empty()) {
    StrAppend(&fields, R"("trafficDistribution":)",
              Quoted(spec.traffic_distribution), ",");
  }
  return fields;
}

std::string ServiceBody(const ServiceSpec& spec) {
  if (spec.type == "ExternalName") {
    return R"("spec":{"type":"ExternalName","externalName":"example.com"})";
  }
  const bool headless = spec.type == "Headless";
  const std::string external_ips =
      spec.external_ips ? BothFamilies(spec.number, Way::kExternalIp) : "[]";
  return StrCat(
      R"("spec":{"type":)", Quoted(headless ? "ClusterIP" : spec.type),
      R"(,"clusterIPs":)",
      headless ? R"(["None"])" : BothFamilies(spec.number, Way::kClusterIp),
      R"(,"externalIPs":)", external_ips, R"(,"internalTrafficPolicy":)",
      Quoted(spec.internal_local ? "Local" : "Cluster"),
      R"(,"externalTrafficPolicy":)",
      Quoted(spec.external_local ? "Local" : "Cluster"), ",",
      AffinityFields(spec), OptionalFields(spec),
      R"("loadBalancerSourceRanges":)", QuotedList(spec.source_ranges),
      R"(,"ports":)", ServicePorts(spec, NodePortField(spec)),
      R"(},"status":{"loadBalancer":)", LoadBalancerStatus(spec), "}");
}

// Of words as "zone=a", "node=node1".
std::string HintFields(const std::vector<std::string>& words) {
  std::vector<std::string> fields;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const bool zone = word.substr(0, equals) == "zone";
    fields.push_back(StrCat(zone ? R"("forZones")" : R"("forNodes")",
                            R"(:[{"name":)", Quoted(word.substr(equals + 1)),
                            "}]"));
  }
  return StrCat("{", absl::StrJoin(fields, ","), "}");
}

std::string EndpointBody(const Topology& net, const std::string& text,
                         IpFamily family) {
  std::vector<std::string> hints = absl::StrSplit(text, '/');
  const std::string word = hints.front();
  hints.erase(hints.begin());
  const size_t colon = word.find(':');
  const std::string name = word.substr(0, colon);
  const std::string mark =
      colon == word.npos ? "" : word.substr(colon + 1);
  const bool terminating = mark == "terminating" || mark == "dead";
  const bool serving = mark.empty() || mark == "terminating";
  const bool remote = name[0] == 'r';
  auto json = [](bool value) { return value ? "true" : "false"; };
  return StrCat(R"({"addresses":[)",
                Quoted(net.at(name).address(family).ToString()),
                R"(],"nodeName":)", Quoted(remote ? "node2" : "node1"),
                R"(,"hints":)", HintFields(hints),
                R"(,"conditions":{"ready":)", json(mark.empty()),
                R"(,"serving":)", json(serving), R"(,"terminating":)",
                json(terminating), "}}");
}

std::string SliceBody(const Topology& net, const ServiceSpec& spec,
                      const std::vector<std::string>& words,
                      IpFamily family) {
  std::vector<std::string> endpoints;
  for (const std::string& word : words) {
    endpoints.push_back(EndpointBody(net, word, family));
  }
  return StrCat(R"("addressType":)", Quoted(std::string(IpFamilyName(family))),
                R"(,"ports":)", SlicePorts(spec), R"(,"endpoints":[)",
                absl::StrJoin(endpoints, ","), "]");
}

// The endpoints of each slice, by what ends the slice's name.
std::map<std::string, std::vector<std::string>> SlicesOf(
    const ServiceSpec& spec) {
  std::map<std::string, std::vector<std::string>> slices;
  switch (spec.slices) {
    case ServiceSpec::Slices::kOneEach:
      for (const std::string& word : spec.endpoints) {
        slices[StrCat("-", slices.size())] = {word};
      }
      break;
    case ServiceSpec::Slices::kTwice:
      slices["-twice"] = spec.endpoints;
      [[fallthrough]];
    case ServiceSpec::Slices::kOne:
      slices[""] = spec.endpoints;
  }
  return slices;
}

}  // namespace

const char* WayName(Way way) {
  switch (way) {
    case Way::kClusterIp:
      return "ClusterIP";
    case Way::kNodePort:
      return "NodePort";
    case Way::kLoadBalancer:
      return "LB VIP";
    case Way::kExternalIp:
      return "externalIP";
  }
  return "?";
}

L4Address FrontendOf(int number, Way way, IpFamily family, Protocol protocol) {
  const bool v4 = family == IpFamily::kIpv4;
  auto address = [&](const char* four, const char* six) {
    return *IpAddress::Parse(v4 ? StrCat(four, number)
                                : StrCat(six, absl::Hex(number)));
  };
  switch (way) {
    case Way::kClusterIp:
      return {address("10.96.0.", "fd96::"), kServicePort, protocol};
    case Way::kLoadBalancer:
      return {address("198.51.100.", "2001:db8:51::"), kServicePort, protocol};
    case Way::kExternalIp:
      return {address("203.0.113.", "2001:db8:113::"), kServicePort, protocol};
    case Way::kNodePort:
      break;
  }
  return {*IpAddress::Parse(v4 ? "172.31.1.2" : "fd31:1::2"),
          static_cast<Port>(kFirstNodePort + number), protocol};
}

absl::StatusOr<std::unique_ptr<ServiceBed>> ServiceBed::Create() {
  std::unique_ptr<ServiceBed> bed(new ServiceBed());
  FL_RETURN_IF_ERROR(bed->Build());
  return bed;
}

absl::Status ServiceBed::Build() {
  rlimit files = {65536, 65536};
  if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  FL_ASSIGN_OR_RETURN(BpffsScope bpffs, BpffsScope::Create());
  bpffs_.emplace(std::move(bpffs));
  FL_ASSIGN_OR_RETURN(TempDirScope dir, TempDirScope::Create());
  dir_.emplace(std::move(dir));
  FL_ASSIGN_OR_RETURN(CgroupScope plain, CgroupScope::Create());
  plain_.emplace(std::move(plain));
  FL_ASSIGN_OR_RETURN(CgroupScope followed, CgroupScope::Create());
  followed_.emplace(std::move(followed));
  FL_RETURN_IF_ERROR(plain_->Join());
  FL_ASSIGN_OR_RETURN(topology_, Topology::Create());
  server_ = std::make_unique<EndpointServer>();
  for (const std::string& name : Topology::Endpoints()) {
    FL_RETURN_IF_ERROR(server_->Add(topology_->at(name)));
  }
  server_->StartApart();
  api_ = std::make_unique<StubApi>(&topology_->node().netns);
  return api_->Start();
}

ServiceBed::~ServiceBed() {
  StopAgent();
  Cleanup();
  api_.reset();
  server_.reset();
}

int ServiceBed::Spawn(const std::vector<std::string>& flags) {
  std::vector<std::string> words = {
      std::string(FAIRLEAD_BINARY_DIR) + "/bin/fairlead-agent", "--bpf-root",
      bpf_root()};
  words.insert(words.end(), flags.begin(), flags.end());
  return harness::Spawn(std::move(words), dir_->path() + "/agent.log",
                        topology_->node().netns.fd());
}

void ServiceBed::StopAgent(int signal) {
  if (agent_ <= 0) return;
  kill(agent_, signal);
  waitpid(std::exchange(agent_, 0), nullptr, 0);
}

bool ServiceBed::AgentHasEnded() {
  if (agent_ > 0 && waitpid(agent_, nullptr, WNOHANG) == agent_) agent_ = 0;
  return agent_ == 0;
}

void ServiceBed::Cleanup() {
  if (!bpffs_.has_value() || topology_ == nullptr) return;
  waitpid(Spawn({"--cleanup"}), nullptr, 0);
}

void ServiceBed::EndAgent() {
  StopAgent();
  Cleanup();
}

int ServiceBed::RunAgent(const std::vector<std::string>& flags) {
  int status = 0;
  waitpid(Spawn(flags), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

absl::Status ServiceBed::StartAgent(const std::vector<std::string>& flags) {
  EndAgent();
  return LaunchAgent(flags);
}

absl::Status ServiceBed::RestartAgent(int signal,
                                      const std::vector<std::string>& flags) {
  StopAgent(signal);
  return LaunchAgent(flags);
}

absl::StatusOr<std::string> ServiceBed::TakeOverWithOtherLayout() {
  StopAgent();
  return topology_->node().netns.Command(StrCat(
      FAIRLEAD_BINARY_DIR, "/bin/fairlead-other-datapath --bpf-root ",
      bpf_root(), " --cgroup-root ", followed_->path(),
      " --node-ip ", kNodeIps, " ", ClusterCidrs()[0], " ",
      ClusterCidrs()[1]));
}

absl::Status ServiceBed::LaunchAgent(const std::vector<std::string>& flags) {
  std::vector<std::string> all = {
      "--server",      StubApi::url(), "--node-name",    "node1",
      "--node-ip",     kNodeIps,
      "--cgroup-root", followed_->path(),
      "--admin-socket", dir_->path() + "/agent.sock"};
  all.insert(all.end(), flags.begin(), flags.end());
  agent_ = Spawn(all);
  bool healthy = false;
  (void)Eventually([&] {
    healthy =
        Get(kHealthPort, "/healthz").find("200 OK") != std::string::npos;
    return healthy || AgentHasEnded();
  }, absl::Seconds(120));
  if (!healthy) return absl::DeadlineExceededError("agent: " + Log());
  return absl::OkStatus();
}

int ServiceBed::Put(const ServiceSpec& spec) {
  api_->Put("services", spec.name(), "", ServiceBody(spec));
  int events = 1;
  std::set<std::string> names;
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    for (const auto& [end, words] : SlicesOf(spec)) {
      const std::string name = StrCat(
          spec.name(), family == IpFamily::kIpv4 ? "-v4" : "-v6", end);
      api_->Put("endpointslices", name,
                StrCat(R"("kubernetes.io/service-name":)",
                       Quoted(spec.name())),
                SliceBody(*topology_, spec, words, family));
      names.insert(name);
      ++events;
    }
  }
  for (const std::string& name : slices_[spec.number]) {
    if (names.contains(name)) continue;
    api_->Delete("endpointslices", name);
    ++events;
  }
  slices_[spec.number] = std::move(names);
  return events;
}

int ServiceBed::Delete(int number) {
  api_->Delete("services", ServiceSpec{.number = number}.name());
  int events = 1;
  for (const std::string& name : std::exchange(slices_[number], {})) {
    api_->Delete("endpointslices", name);
    ++events;
  }
  return events;
}

absl::Status ServiceBed::AndWait(const std::function<int()>& change) {
  const double before = Metric("fl_api_events_total");
  const double wanted = before + change();
  const bool applied = Eventually([&] {
    return Metric("fl_api_events_total") >= wanted &&
           Metric("fl_apply_waiting_seconds") == 0;
  }, absl::Seconds(120));
  if (!applied) return absl::DeadlineExceededError("not applied: " + Log());
  return absl::OkStatus();
}

void ServiceBed::ApplyOrEnd(const ServiceSpec& spec) {
  const double wanted = Metric("fl_api_events_total") + 3;
  Put(spec);
  (void)Eventually([&] {
    return AgentHasEnded() || (Metric("fl_api_events_total") >= wanted &&
                               Metric("fl_apply_waiting_seconds") == 0);
  }, absl::Seconds(30));
}

absl::Status ServiceBed::Apply(const std::vector<ServiceSpec>& specs) {
  return AndWait([&] {
    int events = 0;
    for (const ServiceSpec& spec : specs) events += Put(spec);
    return events;
  });
}

absl::Status ServiceBed::Remove(int number) {
  return AndWait([&] { return Delete(number); });
}

void ServiceBed::PutNode(const std::string& zone, const std::string& spec) {
  api_->Put("nodes", "node1",
            StrCat(R"("topology.kubernetes.io/zone":)", Quoted(zone)),
            StrCat(R"("spec":{"podCIDRs":["10.244.1.0/24","fd44:1::/32"])",
                   spec, "}"));
}

std::string ServiceBed::Log() const {
  std::ifstream file(dir_->path() + "/agent.log");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string ServiceBed::Get(int port, const std::string& path) {
  std::string answer;
  (void)topology_->node().netns.Run([&]() -> absl::Status {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    SocketAddress address({IpAddress::V4(INADDR_LOOPBACK),
                           static_cast<Port>(port), Protocol::kTcp});
    if (connect(fd.get(), address.get(), address.size()) < 0) {
      return absl::OkStatus();
    }
    std::string request =
        StrCat("GET ", path, " HTTP/1.1\r\nConnection: close\r\n\r\n");
    (void)send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    char buffer[16384];
    ssize_t n = 0;
    while ((n = read(fd.get(), buffer, sizeof buffer)) > 0) {
      answer.append(buffer, static_cast<size_t>(n));
    }
    return absl::OkStatus();
  });
  return answer;
}

double ServiceBed::Metric(const std::string& name) {
  std::istringstream lines(Get(kMetricsPort, "/metrics"));
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, name.size(), name) != 0) continue;
    if (line[name.size()] != '{' && line[name.size()] != ' ') continue;
    sum += atof(line.c_str() + line.rfind(' '));
  }
  return sum;
}

std::map<std::string, double> ServiceBed::Counters() {
  const std::string prefix = "fl_datapath_packets_total{reason=\"";
  std::istringstream lines(Get(kMetricsPort, "/metrics"));
  std::map<std::string, double> counters;
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, prefix.size(), prefix) != 0) continue;
    const size_t end = line.find('"', prefix.size());
    counters[line.substr(prefix.size(), end - prefix.size())] =
        atof(line.c_str() + line.rfind(' '));
  }
  return counters;
}

double ServiceBed::Counter(const std::string& reason) {
  return Counters()[reason];
}

}  // namespace fairlead::harness
