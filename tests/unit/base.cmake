fl_test(ip_address_test LABEL unit SRCS ip_address_test.cc DEPS base)
fl_test(event_loop_test LABEL unit SRCS event_loop_test.cc DEPS base)
