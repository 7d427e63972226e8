// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/run_tool.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_join.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {
namespace {

// In memory: nobody has to read while another writes.
absl::StatusOr<UniqueFd> TextFile(std::string_view text) {
  UniqueFd fd(memfd_create("tool", MFD_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "memfd_create", "tool");
  while (!text.empty()) {
    const ssize_t size = write(fd.get(), text.data(), text.size());
    if (size < 0) return ErrnoStatus(errno, "write", "tool");
    text.remove_prefix(static_cast<size_t>(size));
  }
  lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

std::string Contents(int fd) {
  std::string text(static_cast<size_t>(lseek(fd, 0, SEEK_END)), '\0');
  const ssize_t size = pread(fd, text.data(), text.size(), 0);
  text.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return text;
}

}  // namespace

absl::StatusOr<std::string> RunTool(const std::vector<std::string>& argv,
                                    std::string_view input) {
  FL_ASSIGN_OR_RETURN(UniqueFd in, TextFile(input));
  FL_ASSIGN_OR_RETURN(UniqueFd out, TextFile(""));
  FL_ASSIGN_OR_RETURN(UniqueFd error, TextFile(""));
  std::vector<char*> words;
  for (const std::string& word : argv) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, error.get(), STDERR_FILENO);
  pid_t pid = 0;
  const int refused = posix_spawnp(&pid, words[0], &actions, nullptr,
                                   words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (refused == ENOENT) {
    return absl::NotFoundError(StrCat(argv[0], " is not installed"));
  }
  if (refused != 0) return ErrnoStatus(refused, "run", argv[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Contents(out.get());
  return absl::InternalError(StrCat(absl::StrJoin(argv, " "), " failed: ",
                                    Contents(error.get())));
}

}  // namespace fairlead
