fl_test(health_test LABEL unit SRCS health_test.cc
  DEPS agent_parts nlohmann_json::nlohmann_json)
