// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/program.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>

namespace fairlead {

void OpenLog(const std::string& logger, const std::string& level) {
  auto log = spdlog::stderr_logger_mt(logger);
  log->set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v",
                   spdlog::pattern_time_type::utc);
  log->set_level(spdlog::level::from_str(level));
  log->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(log);
}

int Fail(const char* program, const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "%s: %s\n", program,
               std::string(status.message()).c_str());
  return exit_code;
}

}  // namespace fairlead
