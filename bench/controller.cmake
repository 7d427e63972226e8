if(FAIRLEAD_TESTS)
  # The simulated nodes are those of the tests.
  fl_bench(controller_bench SRCS controller_bench.cc http_load.cc
    ${PROJECT_SOURCE_DIR}/tests/netns/fake_nodes.cc
    DEPS base harness kube absl::strings)
  if(TARGET controller_bench)
    target_compile_definitions(controller_bench PRIVATE
      FAIRLEAD_BINARY_DIR="${PROJECT_BINARY_DIR}")
    add_dependencies(controller_bench fairlead-controller)
  endif()
endif()
