fl_test(flow_table_test LABEL unit SRCS flow_table_test.cc DEPS base)
fl_test(abi_test LABEL unit SRCS abi_test.cc DEPS abi datapath)
