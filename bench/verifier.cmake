if(FAIRLEAD_TESTS)
  # The BPF file system comes from the tests.
  fl_bench(verifier_bench SRCS verifier_bench.cc DEPS harness datapath)
endif()
