fl_test(kube_proxy_test LABEL unit SRCS kube_proxy_test.cc DEPS agent_parts)
fl_test(agent_parts_test LABEL unit SRCS agent_parts_test.cc DEPS agent_parts)
fl_test(source_ports_test LABEL unit SRCS source_ports_test.cc DEPS agent_parts)
fl_test(kube_proxy_cleanup_test LABEL unit SRCS kube_proxy_cleanup_test.cc
  DEPS agent_parts)
