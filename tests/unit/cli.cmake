fl_test(cli_test LABEL unit SRCS cli_test.cc DEPS cli)
fl_test(yaml_test LABEL unit SRCS yaml_test.cc DEPS kube)
