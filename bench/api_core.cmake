fl_bench(api_bench SRCS api_bench.cc DEPS api store kube)
