fl_test(reference_test LABEL unit SRCS reference_test.cc DEPS reference)
