// SPDX-License-Identifier: Apache-2.0
// The differential fuzzer by itself; see scripts/differential.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

#include "tests/prog/differential.h"

namespace fairlead::differential {
namespace {

struct Flags {
  uint64_t seed = 1;
  int64_t seconds = 60;
  reference::Flaw flaw = reference::Flaw::kNone;
  bool one = false;  // only this seed's episode
  reference::Detection detection = reference::Detection::kByAddress;
};

constexpr char kUsage[] =
    "Usage: differential [--seconds N] [--minutes N] [--seed S] [--one]\n"
    "                    [--pods address|node|device]\n"
    "                    [--flaw masquerade|terminating|source-range|reply|\n"
    "                            hints|affinity|fragment|sctp|ranges|\n"
    "                            health|stray-error|extensions|\n"
    "                            node-address|decline]\n"
    "Compares the loaded programs with the reference on random cluster states\n"
    "and packets. --one runs the episode of --seed alone, again and again\n"
    "until it differs. Exits with 1 at a difference.\n";

bool ParseFlaw(const char* name, reference::Flaw* flaw) {
  constexpr const char* kNames[] = {"none", "masquerade", "terminating",
                                    "source-range", "reply", "hints",
                                    "affinity", "fragment", "sctp", "ranges",
                                    "health", "stray-error", "extensions",
                                    "node-address", "decline"};
  for (int i = 0; i < static_cast<int>(std::size(kNames)); ++i) {
    if (strcmp(name, kNames[i]) == 0) {
      *flaw = static_cast<reference::Flaw>(i);
      return true;
    }
  }
  return false;
}

bool ParseDetection(const char* name, reference::Detection* detection) {
  constexpr const char* kNames[] = {"address", "node", "device"};
  for (int i = 0; i < 3; ++i) {
    if (strcmp(name, kNames[i]) == 0) {
      *detection = static_cast<reference::Detection>(i);
      return true;
    }
  }
  return false;
}

bool Parse(int argc, char** argv, Flags* flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--one") {
      flags->one = true;
      continue;
    }
    if (++i >= argc) return false;
    if (name == "--seed") {
      flags->seed = strtoull(argv[i], nullptr, 10);
    } else if (name == "--seconds") {
      flags->seconds = strtoll(argv[i], nullptr, 10);
    } else if (name == "--minutes") {
      flags->seconds = 60 * strtoll(argv[i], nullptr, 10);
    } else if (name == "--pods") {
      if (!ParseDetection(argv[i], &flags->detection)) return false;
    } else if (name != "--flaw" || !ParseFlaw(argv[i], &flags->flaw)) {
      return false;
    }
  }
  return true;
}

int Print(const Tally& tally, double seconds) {
  printf("%llu packets, %llu states, %llu flows in %.0f s: %.0f packets/s, "
         "%.0f states/s\n",
         static_cast<unsigned long long>(tally.packets),
         static_cast<unsigned long long>(tally.states),
         static_cast<unsigned long long>(tally.flows), seconds,
         static_cast<double>(tally.packets) / seconds,
         static_cast<double>(tally.states) / seconds);
  printf("%llu calls of sockets\n",
         static_cast<unsigned long long>(tally.calls));
  for (const auto* numbers : {&tally.counted, &tally.drawn, &tally.met}) {
    for (const auto& [name, count] : *numbers) {
      printf("  %-26s %llu\n", name.c_str(),
             static_cast<unsigned long long>(count));
    }
  }
  return 0;
}

absl::StatusOr<std::optional<Difference>> Search(World* world,
                                                 const Flags& flags,
                                                 Tally* tally) {
  if (!flags.one) {
    return RunFor(world, flags.seed, absl::Seconds(flags.seconds), flags.flaw,
                  tally);
  }
  for (int i = 0; i < 100; ++i) {
    auto difference = RunEpisode(world, flags.seed, flags.flaw, tally);
    if (!difference.ok() || *difference) return difference;
  }
  return std::optional<Difference>();
}

int Fail(const absl::Status& status) {
  fprintf(stderr, "%s\n", status.ToString().c_str());
  return 2;
}

int Main(const Flags& flags) {
  reference::Node node = DefaultNode();
  node.detection = flags.detection;
  auto world = World::Create(node);
  if (!world.ok()) return Fail(world.status());
  const auto start = std::chrono::steady_clock::now();
  Tally tally;
  auto difference = Search(world->get(), flags, &tally);
  if (!difference.ok()) return Fail(difference.status());
  const std::chrono::duration<double> took =
      std::chrono::steady_clock::now() - start;
  Print(tally, took.count());
  if (!*difference) {
    printf("no difference\n");
    return 0;
  }
  printf("seed %llu step %d differs; making it smaller\n",
         static_cast<unsigned long long>((*difference)->seed),
         (*difference)->step);
  auto smaller = Minimise(world->get(), **difference, flags.flaw);
  if (!smaller.ok()) return Fail(smaller.status());
  printf("%s\nseed %llu step %d (%zu steps left out)\n", smaller->text.c_str(),
         static_cast<unsigned long long>(smaller->seed), smaller->step,
         static_cast<size_t>(std::count_if(
             smaller->skipped.begin(), smaller->skipped.end(),
             [](int step) { return step >= 0; })));
  return 1;
}

}  // namespace
}  // namespace fairlead::differential

int main(int argc, char** argv) {
  fairlead::differential::Flags flags;
  if (!fairlead::differential::Parse(argc, argv, &flags)) {
    fputs(fairlead::differential::kUsage, stderr);
    return 2;
  }
  return fairlead::differential::Main(flags);
}
