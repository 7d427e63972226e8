fl_bpf_object(tc_bench tc_bench.bpf.c)
if(FAIRLEAD_TESTS)
  # Frames and the loaded programs come from the rows' library.
  fl_bench(tc_bench SRCS tc_bench.cc DEPS tc_run tc_bench_skel absl::time)
endif()
