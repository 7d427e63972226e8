fl_test(scheduler_test LABEL unit SRCS scheduler_test.cc DEPS scheduler)
