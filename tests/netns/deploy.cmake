fl_test(deploy_test LABEL netns TIMEOUT 240
  SRCS deploy_test.cc DEPS harness base kube nlohmann_json::nlohmann_json)
if(TARGET deploy_test)
  add_dependencies(deploy_test fairlead-agent fairleadctl)
endif()
