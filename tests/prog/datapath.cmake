# The data path as a whole and its socket programs, with real sockets.
fl_library(service_world SRCS service_world.cc DEPS harness datapath)
fl_test(socket_test LABEL prog SRCS socket_test.cc socket_exchange_test.cc
  DEPS service_world)
fl_test(socket_takeover_test LABEL prog SRCS socket_takeover_test.cc
  DEPS service_world)
fl_test(datapath_test LABEL prog SRCS datapath_test.cc
  DEPS service_world absl::synchronization)
fl_test(abi_btf_test LABEL prog SRCS abi_btf_test.cc DEPS datapath)
fl_test(big_service_test LABEL prog SRCS big_service_test.cc
  DEPS service_world)
fl_test(verifier_test LABEL prog SRCS verifier_test.cc DEPS service_world)
fl_test(udp_state_test LABEL prog SRCS udp_state_test.cc
  DEPS service_world agent_parts)
