fl_test(model_test LABEL unit SRCS categorize_test.cc cluster_test.cc
  DEPS model)
