fl_test(explain_test LABEL netns TIMEOUT 300
  SRCS explain_test.cc explain_world.cc DEPS harness base cli)
if(TARGET explain_test)
  add_dependencies(explain_test fairlead-agent fairleadctl)
endif()
