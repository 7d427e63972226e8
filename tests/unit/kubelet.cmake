fl_test(kubelet_test LABEL unit
  SRCS kubelet_cgroups_test.cc kubelet_env_test.cc kubelet_network_test.cc
       kubelet_plan_test.cc
       kubelet_pressure_test.cc kubelet_stats_test.cc kubelet_status_test.cc
       kubelet_volumes_test.cc
  DEPS kubelet harness)
fl_test(kubelet_process_test LABEL unit SRCS kubelet_process_test.cc
  DEPS kubelet harness)
fl_test(kubelet_probe_test LABEL unit SRCS kubelet_probe_test.cc
  DEPS kubelet)
fl_test(kubelet_log_test LABEL unit SRCS kubelet_log_test.cc
  DEPS kubelet harness)
fl_test(kubelet_server_test LABEL unit SRCS kubelet_server_test.cc
  DEPS kubelet harness)
fl_test(kubelet_spdy_test LABEL unit SRCS kubelet_spdy_test.cc DEPS spdy)
fl_test(kubelet_port_forward_test LABEL unit
  SRCS kubelet_port_forward_test.cc DEPS kubelet harness)
