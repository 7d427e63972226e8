# Services on real packets: a real agent on node1 of a topology of namespaces.
fl_library(service_bed SRCS topology.cc endpoint_server.cc probes.cc
  conversation.cc udp_client.cc service_bed.cc coverage.cc matrix.cc
  DEPS harness base GTest::gtest)
target_compile_definitions(fl_service_bed PRIVATE
  FAIRLEAD_BINARY_DIR="${PROJECT_BINARY_DIR}")
foreach(test matrix_test endpoint_changes_test access_test transfer_test
    forwarding_test sctp_test spoof_test detectors_test udp_cleanup_test
    service_types_test)
  fl_test(${test} LABEL netns TIMEOUT 180 SRCS ${test}.cc
    DEPS service_bed packet)
  if(TARGET ${test})
    add_dependencies(${test} fairlead-agent)
  endif()
endforeach()
