# End to end, on the built programs.
fl_library(e2e_box SRCS box.cc DEPS base cli nlohmann_json::nlohmann_json
  GTest::gtest)
target_compile_definitions(fl_e2e_box PRIVATE
  FAIRLEAD_BINARY_DIR="${PROJECT_BINARY_DIR}")
fl_test(box_traffic_test LABEL netns TIMEOUT 300
  SRCS box_traffic_test.cc DEPS e2e_box)
fl_test(box_faults_test LABEL netns TIMEOUT 300
  SRCS box_faults_test.cc DEPS e2e_box)
fl_test(box_kubectl_test LABEL netns TIMEOUT 300
  SRCS box_kubectl_test.cc DEPS e2e_box)
fl_test(box_identity_test LABEL netns TIMEOUT 300
  SRCS box_identity_test.cc DEPS e2e_box)
fl_test(box_rollout_test LABEL netns TIMEOUT 300
  SRCS box_rollout_test.cc DEPS e2e_box)
foreach(test box_traffic_test box_faults_test box_kubectl_test
        box_identity_test box_rollout_test)
  if(TARGET ${test})
    add_dependencies(${test} fairleadctl fairlead-controller fairlead-agent
      fairlead-kubelet fairlead-shim fairlead-echo fairlead-load)
  endif()
endforeach()
