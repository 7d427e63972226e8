fl_test(explain_model_test LABEL unit SRCS explain_model_test.cc DEPS model)
fl_test(explain_cli_test LABEL unit SRCS explain_cli_test.cc DEPS cli)
