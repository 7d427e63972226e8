fl_test(abi_test LABEL unit SRCS abi_test.cc DEPS abi datapath)
