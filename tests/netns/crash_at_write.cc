// SPDX-License-Identifier: Apache-2.0
// See crash_at_write.h. A map's memory is mapped read only: each store into it
// faults, is counted, and is then let through alone (one instruction is
// stepped over with its page writable). x86-64.
#include "tests/netns/crash_at_write.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using fairlead::harness::CrashControl;

constexpr greg_t kTrapFlag = 0x100;
constexpr uintptr_t kPage = 4096;

CrashControl* control = nullptr;

struct Region {
  std::atomic<uintptr_t> at;
  std::atomic<size_t> bytes;
};
Region regions[256];
// Pages that the instruction being stepped over may write.
thread_local uintptr_t open_pages[4];
thread_local int open_count = 0;

template <typename Fn>
Fn* Next(const char* name) {
  return reinterpret_cast<Fn*>(dlsym(RTLD_NEXT, name));
}

void CountWrite() {
  if (control == nullptr || control->armed == 0) return;
  const uint32_t number = ++control->writes;
  if (number == control->at) kill(getpid(), SIGKILL);
}

bool IsMapped(uintptr_t at) {
  for (const Region& region : regions) {
    if (at >= region.at && at < region.at + region.bytes) return true;
  }
  return false;
}

void OnFault(int, siginfo_t* fault, void* context) {
  const auto at = reinterpret_cast<uintptr_t>(fault->si_addr);
  if (!IsMapped(at) || open_count == 4) {
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  if (open_count == 0) CountWrite();
  const uintptr_t page = at / kPage * kPage;
  mprotect(reinterpret_cast<void*>(page), kPage, PROT_READ | PROT_WRITE);
  open_pages[open_count++] = page;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] |= kTrapFlag;
}

void OnStep(int, siginfo_t*, void* context) {
  while (open_count > 0) {
    mprotect(reinterpret_cast<void*>(open_pages[--open_count]), kPage,
             PROT_READ);
  }
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
}

bool IsMap(int fd) {
  char path[32], target[64] = {};
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return readlink(path, target, sizeof target - 1) > 0 &&
         strstr(target, "bpf-map") != nullptr;
}

bool Changes(long command) {
  switch (command) {
    case BPF_MAP_CREATE:
    case BPF_MAP_UPDATE_ELEM:
    case BPF_MAP_DELETE_ELEM:
    case BPF_MAP_UPDATE_BATCH:
    case BPF_MAP_DELETE_BATCH:
    case BPF_OBJ_PIN:
    case BPF_PROG_LOAD:
    case BPF_PROG_ATTACH:
    case BPF_PROG_DETACH:
    case BPF_LINK_CREATE:
    case BPF_LINK_UPDATE:
    case BPF_LINK_DETACH:
      return true;
    default:
      return false;
  }
}

// Of the files that the agent changes, only its pins have such a path.
bool IsPin(const char* path) { return strstr(path, "/agent/v") != nullptr; }

__attribute__((constructor)) void Start() {
  const char* path = getenv("FAIRLEAD_CRASH_CONTROL");
  if (path == nullptr) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  void* at = mmap(nullptr, sizeof(CrashControl), PROT_READ | PROT_WRITE,
                  MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) abort();
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = OnFault;
  sigaction(SIGSEGV, &action, nullptr);
  action.sa_sigaction = OnStep;
  sigaction(SIGTRAP, &action, nullptr);
  control = static_cast<CrashControl*>(at);
}

}  // namespace

extern "C" {

long syscall(long number, ...) {
  static auto* const next = Next<long(long, ...)>("syscall");
  long a[6];
  va_list list;
  va_start(list, number);
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_bpf && Changes(a[0])) CountWrite();
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void* mmap(void* hint, size_t bytes, int protection, int flags, int fd,
           off_t offset) {
  static auto* const next =
      Next<void*(void*, size_t, int, int, int, off_t)>("mmap");
  void* at = next(hint, bytes, protection, flags, fd, offset);
  if (control == nullptr || at == MAP_FAILED || fd < 0 ||
      (protection & PROT_WRITE) == 0 || (flags & MAP_SHARED) == 0 ||
      !IsMap(fd)) {
    return at;
  }
  for (Region& region : regions) {
    uintptr_t none = 0;
    if (!region.at.compare_exchange_strong(none,
                                           reinterpret_cast<uintptr_t>(at))) {
      continue;
    }
    region.bytes = bytes;
    mprotect(at, bytes, PROT_READ);
    return at;
  }
  abort();  // more mappings than there is room for
}

void* mmap64(void* hint, size_t bytes, int protection, int flags, int fd,
             off_t offset) {
  return mmap(hint, bytes, protection, flags, fd, offset);
}

int munmap(void* at, size_t bytes) {
  static auto* const next = Next<int(void*, size_t)>("munmap");
  for (Region& region : regions) {
    if (region.at != reinterpret_cast<uintptr_t>(at)) continue;
    region.bytes = 0;
    region.at = 0;
    break;
  }
  return next(at, bytes);
}

int unlink(const char* path) {
  static auto* const next = Next<int(const char*)>("unlink");
  if (IsPin(path)) CountWrite();
  return next(path);
}

int rename(const char* from, const char* to) {
  static auto* const next = Next<int(const char*, const char*)>("rename");
  if (IsPin(from)) CountWrite();
  return next(from, to);
}

int mkdir(const char* path, mode_t mode) {
  static auto* const next = Next<int(const char*, mode_t)>("mkdir");
  if (IsPin(path)) CountWrite();
  return next(path, mode);
}

int rmdir(const char* path) {
  static auto* const next = Next<int(const char*)>("rmdir");
  if (IsPin(path)) CountWrite();
  return next(path);
}

}  // extern "C"
