# Three seconds; with sanitizers, a minute.
fl_test(cluster_history_test LABEL unit TIMEOUT 300
  SRCS cluster_history_test.cc DEPS history)
