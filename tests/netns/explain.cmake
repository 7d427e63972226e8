fl_test(explain_test LABEL netns TIMEOUT 300
  SRCS explain_test.cc explain_world.cc DEPS harness base cli packet
  nlohmann_json::nlohmann_json)
if(TARGET explain_test)
  # Mostly waits for packets that don't come; all namespaces are its own.
  set_tests_properties(netns.explain_test PROPERTIES RUN_SERIAL FALSE)
  add_dependencies(explain_test fairlead-agent fairleadctl)
endif()
