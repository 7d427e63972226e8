if(FAIRLEAD_TESTS)
  # The tables in memory and the BPF file system come from the tests.
  fl_bench(reconcile_bench SRCS reconcile_bench.cc
    DEPS fake_maps harness datapath reconcile model kube)
endif()
