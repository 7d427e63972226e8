fl_test(agent_test LABEL netns TIMEOUT 180
  SRCS agent_test.cc DEPS harness base)
fl_test(agent_health_test LABEL netns TIMEOUT 180
  SRCS agent_health_test.cc DEPS harness base nlohmann_json::nlohmann_json)
fl_test(agent_security_test LABEL netns TIMEOUT 180
  SRCS agent_security_test.cc DEPS harness base)
fl_test(agent_recorded_test LABEL netns TIMEOUT 180
  SRCS agent_recorded_test.cc DEPS harness base nlohmann_json::nlohmann_json)
fl_test(service_ranges_test LABEL netns TIMEOUT 180
  SRCS service_ranges_test.cc DEPS harness base)
fl_test(agent_tls_test LABEL netns TIMEOUT 180
  SRCS agent_tls_test.cc tls_front.cc DEPS harness base kube OpenSSL::SSL)
fl_test(agent_metrics_test LABEL netns TIMEOUT 180
  SRCS agent_metrics_test.cc DEPS harness base)
fl_test(agent_mutants_test LABEL netns TIMEOUT 180
  SRCS agent_mutants_test.cc DEPS harness base history kube api)
foreach(test agent_test agent_health_test agent_metrics_test
        agent_mutants_test agent_security_test agent_tls_test
        agent_recorded_test service_ranges_test)
  if(TARGET ${test})
    add_dependencies(${test} fairlead-agent fairleadctl)
  endif()
endforeach()
