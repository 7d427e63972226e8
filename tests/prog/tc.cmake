fl_library(packet SRCS packet.cc)
if(FAIRLEAD_TESTS)
  fl_library(tc_run SRCS tc_run.cc tc_rows.cc DEPS packet base datapath tc_skel
    GTest::gtest)
endif()
fl_test(packet_test LABEL unit SRCS packet_test.cc DEPS packet)
fl_test(tc_test LABEL prog SRCS tc_test.cc tc_reject_test.cc tc_icmp_test.cc
  tc_clients_test.cc tc_sctp_test.cc tc_takeover_test.cc
  tc_coverage_test.cc DEPS tc_run)
fl_test(hostile_test LABEL prog TIMEOUT 300 SRCS hostile_test.cc hostile_check.cc
  DEPS tc_run)
fl_test(tc_canary_test LABEL prog WILL_FAIL SRCS tc_canary_test.cc DEPS tc_run)
fl_test(tc_netns_test LABEL netns TIMEOUT 300 SRCS tc_netns_test.cc DEPS tc_run harness)
fl_test(tc_vlan_test LABEL netns SRCS tc_vlan_test.cc DEPS tc_run harness)
