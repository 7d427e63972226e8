fl_test(record_layout_test LABEL unit SRCS record_layout_test.cc DEPS datapath)
fl_test(node_facts_test LABEL unit SRCS node_facts_test.cc DEPS datapath)
fl_test(map_sizes_test LABEL unit SRCS map_sizes_test.cc DEPS map_sizes)
