// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/shim_spec.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace fairlead::shim {

std::string ReadFile(const std::string& path) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char chunk[65536];
  ssize_t n;
  while ((n = read(fd, chunk, sizeof(chunk))) > 0)
    text.append(chunk, static_cast<size_t>(n));
  close(fd);
  return text;
}

namespace {

bool ParseIdentity(const std::string& key, const std::string& value,
                   Spec* spec) {
  const unsigned long long number = std::stoull("0" + value);
  if (key == "no_new_privs") return spec->no_new_privs = true;
  if (key == "read_only_root") return spec->read_only_root = true;
  if (key == "capabilities") {
    spec->capabilities = number;
    return true;
  }
  const auto id = static_cast<uid_t>(number);
  if (key == "user") spec->user = id;
  else if (key == "group") spec->group = id;
  else if (key == "extra_group") spec->extra_groups.push_back(id);
  else return false;
  spec->has_identity = true;
  return true;
}

MountRecord ParseMount(const std::string& value) {
  std::string parts[4];
  size_t at = 0;
  for (std::string& part : parts) {
    const size_t end = value.find('\n', at);
    part = value.substr(at, end - at);
    at = end == std::string::npos ? value.size() : end + 1;
  }
  return {parts[0], parts[1], parts[2], parts[3] == "ro"};
}

}  // namespace

bool ParseSpec(const std::string& path, Spec* spec) {
  const std::string text = ReadFile(path);
  for (size_t at = 0; at < text.size();) {
    const std::string record = text.c_str() + at;
    at += record.size() + 1;
    const size_t eq = record.find('=');
    if (eq == std::string::npos) return false;
    const std::string key = record.substr(0, eq);
    const std::string value = record.substr(eq + 1);
    if (key == "net") spec->net = value;
    else if (key == "ipc") spec->ipc = value;
    else if (key == "uts") spec->uts = value;
    else if (key == "cgroup") spec->cgroups.push_back(value);
    else if (key == "shim_cgroup") spec->shim_cgroup = value;
    else if (key == "cwd") spec->cwd = value;
    else if (key == "log") spec->log = value;
    else if (key == "log_bytes") spec->log_bytes = std::stoul("0" + value);
    else if (key == "log_files") spec->log_files = std::stoi("0" + value);
    else if (key == "out") spec->out = value;
    else if (key == "arg") spec->args.push_back(value);
    else if (key == "env") spec->env.push_back(value);
    else if (key == "hide_below") spec->hide_below = value;
    else if (key == "mount") spec->mounts.push_back(ParseMount(value));
    else if (!ParseIdentity(key, value, spec)) return false;
  }
  return true;
}

void Fail(int report, const std::string& what, int error) {
  const std::string text = what + ": " + strerror(error);
  if (write(report, text.data(), text.size()) < 0) _exit(kCannotStart);
  _exit(kCannotStart);
}

}  // namespace fairlead::shim
