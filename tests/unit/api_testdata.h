// SPDX-License-Identifier: Apache-2.0
// Cuts of what a stock API server answered, under testdata/api/.
#ifndef FAIRLEAD_TESTS_UNIT_API_TESTDATA_H_
#define FAIRLEAD_TESTS_UNIT_API_TESTDATA_H_

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "gtest/gtest.h"

namespace fairlead::api {

inline nlohmann::json ReadTestdata(const std::string& name) {
  std::ifstream file(std::string(FAIRLEAD_SOURCE_DIR) +
                     "/tests/unit/testdata/api/" + name);
  nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << name;
  return json;
}

}  // namespace fairlead::api

#endif  // FAIRLEAD_TESTS_UNIT_API_TESTDATA_H_
