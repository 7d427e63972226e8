fl_test(agent_test LABEL netns TIMEOUT 180
  SRCS agent_test.cc DEPS harness base)
if(TARGET agent_test)
  add_dependencies(agent_test fairlead-agent)
endif()
