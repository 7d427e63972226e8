fl_test(cluster_history_test LABEL unit SRCS cluster_history_test.cc
  DEPS history)
