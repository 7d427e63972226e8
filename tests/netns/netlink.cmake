fl_test(netlink_test LABEL netns SRCS netlink_test.cc DEPS netlink harness)
