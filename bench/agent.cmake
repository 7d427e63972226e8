if(FAIRLEAD_TESTS)
  # Namespaces, the BPF file system and the API server come from the tests.
  fl_bench(agent_bench SRCS agent_bench.cc recorded_cluster.cc
    DEPS harness datapath api)
  if(TARGET agent_bench)
    target_compile_definitions(agent_bench PRIVATE
      FAIRLEAD_BINARY_DIR="${PROJECT_BINARY_DIR}")
    add_dependencies(agent_bench fairlead-agent)
  endif()
endif()
