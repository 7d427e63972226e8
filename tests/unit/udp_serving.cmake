fl_test(udp_serving_test LABEL unit SRCS udp_serving_test.cc DEPS agent_parts)
