if(FAIRLEAD_TESTS)
  # The network, the agent in it and the flood come from the tests.
  fl_bench(syn_flood_bench SRCS syn_flood_bench.cc
    DEPS syn_flood service_bed harness base)
  if(TARGET syn_flood_bench)
    add_dependencies(syn_flood_bench fairlead-agent)
  endif()
endif()
