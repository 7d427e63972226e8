fl_test(controller_test LABEL netns TIMEOUT 240
  SRCS controller_test.cc fake_nodes.cc DEPS harness kube absl::strings)
fl_test(controller_store_test LABEL netns TIMEOUT 120
  SRCS controller_store_test.cc fake_nodes.cc DEPS harness kube absl::strings)
fl_test(controller_connections_test LABEL netns TIMEOUT 120
  SRCS controller_connections_test.cc DEPS base harness kube absl::strings)
fl_test(controller_hostile_test LABEL netns TIMEOUT 240
  SRCS controller_hostile_test.cc
  DEPS base harness kube nlohmann_json::nlohmann_json absl::strings)
foreach(test controller_test controller_store_test controller_connections_test
             controller_hostile_test)
  if(TARGET ${test})
    add_dependencies(${test} fairlead-controller)
  endif()
endforeach()
# A short cut of what scripts/crash-store does a thousand times.
add_test(NAME netns.controller_crash COMMAND python3
  ${PROJECT_SOURCE_DIR}/scripts/crash-store --rounds 20
  --controller $<TARGET_FILE:fairlead-controller>)
set_tests_properties(netns.controller_crash PROPERTIES LABELS netns TIMEOUT 240)
