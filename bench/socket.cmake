fl_bpf_object(socket_bench socket_bench.bpf.c)
if(FAIRLEAD_TESTS)
  # The world (namespace, cgroup, services) comes from the tests' library.
  fl_bench(socket_bench SRCS socket_bench.cc
    DEPS service_world socket_bench_skel)
endif()
