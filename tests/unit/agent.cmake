fl_test(agent_parts_test LABEL unit SRCS agent_parts_test.cc DEPS agent_parts)
