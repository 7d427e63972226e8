fl_test(record_layout_test LABEL unit SRCS record_layout_test.cc DEPS datapath)
