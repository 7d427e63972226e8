// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/stats/usage.h"

#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <tuple>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {
namespace {

// The number after the first line's beginning `key`; 0 when there is none.
int64_t Field(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    std::istringstream rest(line.substr(key.size()));
    int64_t number = 0;
    rest >> number;
    return number;
  }
  return 0;
}

int64_t ShareOfProcesses(const std::string& cgroup) {
  std::istringstream pids(ReadFile(cgroup + "/cgroup.procs").value_or(""));
  int64_t kib = 0;
  for (int pid; pids >> pid;) {
    kib += Field(
        ReadFile(StrCat("/proc/", pid, "/smaps_rollup")).value_or(""), "Pss:");
  }
  return kib * 1024;
}

}  // namespace

absl::StatusOr<Usage> ReadCgroupUsage(const std::string& path,
                                      const std::string& v1_memory) {
  FL_ASSIGN_OR_RETURN(const std::string cpu, ReadFile(path + "/cpu.stat"));
  Usage usage;
  usage.cpu = absl::Microseconds(Field(cpu, "usage_usec "));
  for (const auto& [current, stat, cache] :
       {std::tuple{path + "/memory.current", path + "/memory.stat",
                   "inactive_file "},
        std::tuple{v1_memory + "/memory.usage_in_bytes",
                   v1_memory + "/memory.stat", "total_inactive_file "}}) {
    const auto bytes = ReadFile(current);
    if (!bytes.ok()) continue;
    usage.working_set = std::max<int64_t>(
        0, Field(*bytes, "") - Field(ReadFile(stat).value_or(""), cache));
    return usage;
  }
  usage.working_set = ShareOfProcesses(path);
  return usage;
}

absl::StatusOr<Usage> ReadMachineUsage() {
  FL_ASSIGN_OR_RETURN(const std::string stat, ReadFile("/proc/stat"));
  FL_ASSIGN_OR_RETURN(const std::string memory, ReadFile("/proc/meminfo"));
  std::istringstream line(stat.substr(0, stat.find('\n')));
  std::string name;
  line >> name;
  // user nice system idle iowait irq softirq steal; guests are in user.
  int64_t ticks = 0, value = 0;
  for (int i = 0; i < 8 && line >> value; ++i) {
    if (i != 3 && i != 4) ticks += value;
  }
  Usage usage;
  usage.cpu = absl::Seconds(1) * ticks / sysconf(_SC_CLK_TCK);
  usage.available = Field(memory, "MemAvailable:") * 1024;
  usage.working_set = Field(memory, "MemTotal:") * 1024 - usage.available;
  return usage;
}

}  // namespace fairlead::kubelet
