// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/cli/api_session.h"
#include "userspace/cli/box_cgroup.h"
#include "userspace/cli/cluster.h"

namespace fairlead::cli {
namespace {

struct Place {
  std::string netns;
  std::string cgroup;  // empty: stay where we are
};

absl::StatusOr<int> NodeNumber(const Box& box, const std::string& name) {
  int node = 0;
  absl::string_view digits = name;
  if (!absl::ConsumePrefix(&digits, "node-") ||
      !absl::SimpleAtoi(digits, &node) || node < 1 || node > box.nodes) {
    return absl::InvalidArgumentError(
        StrCat("\"", name, "\" is none of: node-1 .. node-", box.nodes,
               ", outside, pod/NAME, pod/NAMESPACE/NAME"));
  }
  return node;
}

absl::StatusOr<Place> FindPod(const Box& box, const std::string& where) {
  std::vector<std::string> parts = absl::StrSplit(where, '/');
  std::string ns = parts.size() == 3 ? parts[1] : "default";
  FL_ASSIGN_OR_RETURN(ApiSession api,
                      ApiSession::OpenDefault(box.Kubeconfig()));
  FL_ASSIGN_OR_RETURN(
      nlohmann::json pod,
      api.GetJson(StrCat("/api/v1/namespaces/", ns, "/pods/", parts.back())));
  FL_ASSIGN_OR_RETURN(int node,
                      NodeNumber(box, pod["spec"].value("nodeName", "")));
  std::string uid = pod["metadata"].value("uid", "");
  FL_ASSIGN_OR_RETURN(std::string cgroup, NodeCgroup(box, node));
  // As fairlead-kubelet names them.
  return Place{NetnsPath(box.PodNetnsPrefix(node) + uid),
               StrCat(cgroup, "/pods/", uid, "/exec")};
}

absl::StatusOr<Place> Find(const ExecOptions& options) {
  const Box& box = options.box;
  if (options.where == "outside") return Place{NetnsPath(box.Outside()), ""};
  if (absl::StartsWith(options.where, "pod/"))
    return FindPod(box, options.where);
  FL_ASSIGN_OR_RETURN(int node, NodeNumber(box, options.where));
  FL_ASSIGN_OR_RETURN(std::string cgroup, NodeCgroup(box, node));
  return Place{NetnsPath(box.NodeNetns(node)), cgroup + "/host"};
}

}  // namespace

absl::Status ClusterExec(const ExecOptions& options) {
  FL_ASSIGN_OR_RETURN(Place place, Find(options));
  UniqueFd netns(open(place.netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid())
    return ErrnoStatus(errno, "open network namespace", place.netns);
  if (!place.cgroup.empty() && !options.packet_path) {
    FL_RETURN_IF_ERROR(MakeCgroup(place.cgroup));
    FL_RETURN_IF_ERROR(JoinCgroup(place.cgroup));
  }
  if (setns(netns.get(), CLONE_NEWNET) != 0)
    return ErrnoStatus(errno, "enter network namespace", place.netns);
  std::vector<char*> argv;
  for (const std::string& arg : options.command)
    argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  return ErrnoStatus(errno, "run", options.command[0]);
}

}  // namespace fairlead::cli
