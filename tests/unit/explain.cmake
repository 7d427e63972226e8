fl_test(explain_model_test LABEL unit SRCS explain_model_test.cc DEPS model)
