fl_test(agent_test LABEL netns TIMEOUT 180
  SRCS agent_test.cc DEPS harness base)
fl_test(agent_health_test LABEL netns TIMEOUT 180
  SRCS agent_health_test.cc DEPS harness base nlohmann_json::nlohmann_json)
foreach(test agent_test agent_health_test)
  if(TARGET ${test})
    add_dependencies(${test} fairlead-agent)
  endif()
endforeach()
