// SPDX-License-Identifier: Apache-2.0
// fairleadctl: what each command is called and which flags it takes.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/base/status.h"
#include "userspace/base/version.h"
#include "userspace/cli/agent_commands.h"
#include "userspace/cli/apply.h"
#include "userspace/cli/cluster.h"
#include "userspace/cli/completion.h"
#include "userspace/cli/explain_command.h"

namespace fairlead::cli {
namespace {

// What the chosen command does; set by CLI11's callbacks, run once after
// parsing so that its exit code is the program's.
using Action = std::function<absl::Status()>;

CLI::Option* AddOutput(CLI::App* command, std::shared_ptr<std::string> output,
                       std::vector<std::string> allowed = {"json"}) {
  return command
      ->add_option("-o,--output", *output,
                   "output format: " + CLI::detail::join(allowed, ", "))
      ->check(CLI::IsMember(allowed));
}

void AddCluster(CLI::App& app, Action& action,
                const std::vector<std::string>& behind_dashes) {
  CLI::App* cluster = app.add_subcommand(
      "cluster", "a whole cluster on this machine, nodes as namespaces");
  cluster->require_subcommand(1);
  auto options = std::make_shared<ClusterUpOptions>();
  auto add_name = [options](CLI::App* command) {
    command->add_option("--name", options->box.name, "name of the cluster")
        ->capture_default_str();
    command->add_option("--dir", options->box.root, "where clusters are kept")
        ->capture_default_str();
  };
  auto quiet = std::make_shared<bool>(false);
  auto output = std::make_shared<std::string>();

  CLI::App* up = cluster->add_subcommand("up", "start it, or what is missing");
  add_name(up);
  up->add_option("--nodes", options->box.nodes, "number of nodes")
      ->capture_default_str();
  auto wait = std::make_shared<int>(60);
  up->add_option("--wait-seconds", *wait, "how long to wait until it is ready")
      ->capture_default_str();
  up->add_option("--log-level", options->log_level, "of all its daemons")
      ->capture_default_str();
  up->add_option("--controller-flag", options->controller_flags,
                 "a further flag of fairlead-controller (repeatable)")
      ->allow_extra_args(false);
  up->add_option("--kubelet-flag", options->kubelet_flags,
                 "a further flag of every fairlead-kubelet (repeatable)")
      ->allow_extra_args(false);
  up->add_flag("-q,--quiet", *quiet, "no progress lines");
  up->footer(
      "Examples:\n"
      "  fairleadctl cluster up\n"
      "  eval \"$(fairleadctl cluster up --quiet)\" && kubectl get nodes\n"
      "  fairleadctl cluster up --name test --nodes 3");
  up->callback([=, &action] {
    action = [=]() -> absl::Status {
      options->wait = absl::Seconds(*wait);
      FL_RETURN_IF_ERROR(ClusterUp(*options, Progress(*quiet)));
      std::printf("export KUBECONFIG=%s\n", options->box.Kubeconfig().c_str());
      return absl::OkStatus();
    };
  });

  CLI::App* down = cluster->add_subcommand("down", "end it and remove it");
  add_name(down);
  down->add_flag("-q,--quiet", *quiet, "no progress lines");
  down->callback([=, &action] {
    action = [=]() -> absl::Status {
      auto box = LoadBox(options->box.root, options->box.name);
      // What an interrupted start left behind goes too.
      return ClusterDown(box.ok() ? *box : options->box, Progress(*quiet));
    };
  });

  CLI::App* status =
      cluster->add_subcommand("status", "which of its daemons are ready");
  add_name(status);
  AddOutput(status, output);
  status->callback([=, &action] {
    action = [=]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(Box box,
                          LoadBox(options->box.root, options->box.name));
      return ClusterStatus(box, *output == "json");
    };
  });

  CLI::App* exec = cluster->add_subcommand(
      "exec", "run a command (after --) on a node, in a pod's network, or outside");
  add_name(exec);
  auto target = std::make_shared<ExecOptions>();
  exec->add_flag("--packet-path", target->packet_path,
                 "stay out of the node's cgroup: packets are translated, not "
                 "sockets");
  exec->add_option("where", target->where,
                   "node-N, outside, pod/NAME or pod/NAMESPACE/NAME")
      ->required();
  exec->footer(
      "Examples:\n"
      "  fairleadctl cluster exec node-1 -- curl http://10.96.0.10\n"
      "  fairleadctl cluster exec outside -- curl http://172.30.0.11:30080\n"
      "  fairleadctl cluster exec --packet-path pod/web-1 -- ip addr");
  exec->callback([=, &action] {
    target->command = behind_dashes;
    action = [=]() -> absl::Status {
      if (target->command.empty())
        return absl::InvalidArgumentError(
            "cluster exec: which command? Give it after --");
      FL_ASSIGN_OR_RETURN(target->box,
                          LoadBox(options->box.root, options->box.name));
      return ClusterExec(*target);
    };
  });
}

void AddApiFlags(CLI::App* command, std::shared_ptr<std::string> kubeconfig,
                 std::shared_ptr<GetOptions> what) {
  command->add_option("--kubeconfig", *kubeconfig,
                      "default: $KUBECONFIG, else the only cluster in a box");
  command->add_option("-n,--namespace", what->ns, "namespace")
      ->capture_default_str();
}

void AddApiCommands(CLI::App& app, Action& action) {
  auto kubeconfig = std::make_shared<std::string>();
  auto get = std::make_shared<GetOptions>();
  CLI::App* apply =
      app.add_subcommand("apply", "apply manifests (for want of kubectl)");
  AddApiFlags(apply, kubeconfig, get);
  auto files = std::make_shared<std::vector<std::string>>();
  apply->add_option("-f,--filename", *files, "file, folder, or - for stdin")
      ->required();
  apply->footer("Example:\n  fairleadctl apply -f docs/examples/web.yaml");
  apply->callback([=, &action] {
    action = [=]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(ApiSession api,
                          ApiSession::OpenDefault(*kubeconfig));
      return Apply(api, *files, get->ns);
    };
  });

  CLI::App* command =
      app.add_subcommand("get", "list objects (for want of kubectl)");
  AddApiFlags(command, kubeconfig, get);
  command->add_option("resource", get->resource, "pods, svc, deploy, ...")
      ->required();
  command->add_option("name", get->name, "one object");
  command->add_flag("-A,--all-namespaces", get->all_namespaces,
                    "objects of every namespace");
  command->add_option("-l,--selector", get->selector, "label selector");
  command
      ->add_option("-o,--output", get->output, "output format: wide, json")
      ->check(CLI::IsMember({"wide", "json"}));
  command->footer("Example:\n  fairleadctl get pods -l app=web -o wide");
  command->callback([=, &action] {
    action = [=]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(ApiSession api,
                          ApiSession::OpenDefault(*kubeconfig));
      return Get(api, *get);
    };
  });
}

void AddDelete(CLI::App& app, Action& action) {
  auto kubeconfig = std::make_shared<std::string>();
  auto what = std::make_shared<GetOptions>();
  auto grace = std::make_shared<int>(-1);
  CLI::App* command =
      app.add_subcommand("delete", "delete an object (for want of kubectl)");
  AddApiFlags(command, kubeconfig, what);
  command->add_option("resource", what->resource, "pods, svc, ...")->required();
  command->add_option("name", what->name, "its name")->required();
  command->add_option("--grace-period", *grace, "seconds to end in");
  command->callback([=, &action] {
    action = [=]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(ApiSession api,
                          ApiSession::OpenDefault(*kubeconfig));
      return Delete(api, *what, *grace);
    };
  });
}

// A command that asks the agent; `run` gets the session and whether -o json.
CLI::App* AddAgentCommand(
    CLI::App* parent, const std::string& name, const std::string& description,
    Action& action, std::function<absl::Status(AgentSession&, bool)> run) {
  CLI::App* command = parent->add_subcommand(name, description);
  auto choice = std::make_shared<AgentChoice>();
  auto output = std::make_shared<std::string>();
  command->add_option("--socket", choice->socket, "the agent's admin socket");
  command->add_option("--cluster", choice->cluster, "a cluster in a box");
  command->add_option("--node", choice->node, "its node, such as node-2");
  AddOutput(command, output);
  command->callback([=, &action] {
    action = [=]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(AgentSession agent, OpenAgent(*choice));
      return run(agent, *output == "json");
    };
  });
  return command;
}

CLI::App* AddGroup(CLI::App& app, const std::string& name,
                   const std::string& description) {
  CLI::App* group = app.add_subcommand(name, description);
  group->require_subcommand(1);
  return group;
}

void AddAgentCommands(CLI::App& app, Action& action) {
  AddAgentCommand(AddGroup(app, "agent", "the agent of a node"), "status",
                  "health, watches, sizes", action, AgentStatus);

  auto ns = std::make_shared<std::string>();
  auto service = std::make_shared<std::string>();
  CLI::App* list = AddAgentCommand(
      AddGroup(app, "service", "frontends as the kernel has them"), "list",
      "one row a frontend", action, [=](AgentSession& agent, bool json) {
        return ServiceList(agent, *ns, *service, json);
      });
  list->add_option("-n,--namespace", *ns, "only this namespace");
  list->add_option("service", *service, "NAME or NAMESPACE/NAME");
  list->footer("Example:\n  fairleadctl service list default/web -o json");

  list = AddAgentCommand(
      AddGroup(app, "backend", "endpoints as the kernel has them"), "list",
      "one row a backend", action, [=](AgentSession& agent, bool json) {
        return BackendList(agent, *service, json);
      });
  list->add_option("service", *service, "only those of NAMESPACE/NAME");

  auto filter = std::make_shared<FlowFilter>();
  list = AddAgentCommand(
      AddGroup(app, "flow", "connections that are translated now"), "list",
      "one row a translation", action, [=](AgentSession& agent, bool json) {
        return FlowList(agent, *filter, json);
      });
  list->add_option("--service", filter->service, "only of NAMESPACE/NAME");
  list->add_option("--backend", filter->backend, "only to this endpoint");
  list->add_option("--client", filter->client, "only from this address");
  list->add_option("--limit", filter->limit, "at most this many");
  list->footer("Example:\n  fairleadctl flow list --client 198.51.100.2");

  auto map = std::make_shared<std::string>();
  CLI::App* dump = AddAgentCommand(
      AddGroup(app, "map", "the kernel's tables, raw"), "dump",
      "one line an entry, sorted", action, [=](AgentSession& agent, bool json) {
        return MapDump(agent, *map, json);
      });
  dump->add_option("map", *map, "service, backend, slot, flow, ...");
  dump->footer("Example:\n  fairleadctl map dump service");

  auto all = std::make_shared<bool>(false);
  AddAgentCommand(&app, "counters", "packets by what became of them", action,
                  [=](AgentSession& agent, bool json) {
                    return Counters(agent, *all, json);
                  })
      ->add_flag("--all", *all, "those that are zero, too");
}

void AddExplain(CLI::App& app, Action& action) {
  auto words = std::make_shared<std::vector<std::string>>();
  auto new_connection = std::make_shared<bool>(false);
  auto device = std::make_shared<std::string>();
  CLI::App* command = AddAgentCommand(
      &app, "explain", "what would become of a packet now, and why", action,
      [=](AgentSession& agent, bool json) -> absl::Status {
        FL_ASSIGN_OR_RETURN(admin::v1::ExplainRequest request,
                            ParseExplainWords(*words));
        request.set_new_connection(*new_connection);
        request.set_device(*device);
        return Explain(agent, request, json);
      });
  command
      ->add_option("packet", *words,
                   "PROTOCOL CLIENT[:PORT] [to] ADDRESS:PORT; tcp, udp or sctp")
      ->required();
  command->add_flag("--new", *new_connection,
                    "a first packet, even if the connection lives already");
  command->add_option("--device", *device, "that it comes in by");
  command->footer(
      "The agent's node runs its real programs on the packet; nothing is "
      "sent, changed or counted.\n"
      "Exit codes: 0 forwarded, or passed untouched; 1 refused or dropped; by "
      "the socket path's verdict for a new connection of this node's, else by "
      "the packet path's.\n"
      "Examples:\n"
      "  fairleadctl explain tcp 10.244.1.7 to 10.96.0.10:80\n"
      "  fairleadctl explain udp 198.51.100.2:5353 '->' 172.30.0.11:30053\n"
      "  fairleadctl explain tcp 'fd00::7 -> [fd00:96::a]:80' -o json");
}

// "->" is no flag: takes it out. Returns the new count.
int DropArrows(int argc, char** argv) {
  if (argc < 2 || std::string_view(argv[1]) != "explain") return argc;
  char** end = std::remove_if(argv, argv + argc, [](const char* word) {
    return std::string_view(word) == "->";
  });
  return static_cast<int>(end - argv);
}

int Main(int argc, char** argv) {
  argc = DropArrows(argc, argv);
  CLI::App app{
      "fairleadctl: clusters in a box, and what Fairlead's agents know",
      "fairleadctl"};
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 it failed or does not hold, 2 wrong usage, 3 "
      "nobody to ask.\n"
      "Examples:\n"
      "  fairleadctl cluster up\n"
      "  fairleadctl service list\n"
      "  source <(fairleadctl completion bash)");
  Action action;
  // What follows "--" is somebody else's command line.
  char** dashes = std::find(argv, argv + argc, std::string_view("--"));
  std::vector<std::string> behind_dashes;
  if (dashes != argv + argc)
    behind_dashes.assign(dashes + 1, argv + argc);
  AddCluster(app, action, behind_dashes);
  AddApiCommands(app, action);
  AddDelete(app, action);
  AddAgentCommands(app, action);
  AddExplain(app, action);
  auto shell = std::make_shared<std::string>();
  CLI::App* completion =
      app.add_subcommand("completion", "a completion script for your shell");
  completion->add_option("shell", *shell, "bash, zsh or fish")->required();
  completion->callback([&app, &action, shell] {
    action = [&app, shell]() -> absl::Status {
      FL_ASSIGN_OR_RETURN(std::string script, CompletionScript(app, *shell));
      std::fputs(script.c_str(), stdout);
      return absl::OkStatus();
    };
  });
  try {
    app.parse(static_cast<int>(dashes - argv), argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  absl::Status status = action();
  return status.ok() ? kOk : ReportError(status);
}

}  // namespace
}  // namespace fairlead::cli

int main(int argc, char** argv) { return fairlead::cli::Main(argc, argv); }
