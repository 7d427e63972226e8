fl_test(kubelet_netns_test LABEL netns TIMEOUT 400
  SRCS kubelet_host_ports_test.cc kubelet_lifecycle_test.cc
       kubelet_limits_test.cc kubelet_pressure_test.cc kubelet_probes_test.cc
       kubelet_security_test.cc kubelet_test.cc kubelet_volumes_test.cc
  DEPS harness base nlohmann_json::nlohmann_json)
if(TARGET kubelet_netns_test)
  add_dependencies(kubelet_netns_test fairlead-kubelet fairlead-echo
    fairlead-health fairlead-load)
endif()
fl_test(kubelet_streams_test LABEL netns TIMEOUT 300
  SRCS kubelet_port_forward_test.cc kubelet_streams_test.cc kubelet_top_test.cc
  DEPS harness base pki)
if(TARGET kubelet_streams_test)
  add_dependencies(kubelet_streams_test fairlead-kubelet fairlead-controller)
endif()
