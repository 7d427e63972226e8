# The data path with other layouts of its maps, of the same sources: what a
# node is upgraded to, and goes back from.
get_target_property(upgrade_datapath fl_datapath SOURCES)
list(TRANSFORM upgrade_datapath PREPEND
  ${PROJECT_SOURCE_DIR}/userspace/datapath/)
get_target_property(upgrade_reconcile fl_reconcile SOURCES)
list(TRANSFORM upgrade_reconcile PREPEND
  ${PROJECT_SOURCE_DIR}/userspace/reconcile/)
add_executable(fairlead-other-datapath other_datapath.cc ${upgrade_datapath}
  ${upgrade_reconcile} ${PROJECT_SOURCE_DIR}/userspace/datapath/map_sizes.cc)
target_link_libraries(fairlead-other-datapath PRIVATE fl_flags
  socket_test_layout_skel tc_test_layout_skel fl_model fl_base CLI11::CLI11
  OpenSSL::Crypto)
# Its skeletons, not the agent's.
target_include_directories(fairlead-other-datapath BEFORE PRIVATE
  ${CMAKE_BINARY_DIR}/test_layout/gen)
fl_library(live_load SRCS live_load.cc DEPS service_bed absl::time
  GTest::gtest)
fl_test(upgrade_test LABEL netns TIMEOUT 180
  SRCS upgrade_test.cc DEPS live_load service_bed)
if(TARGET upgrade_test)
  add_dependencies(upgrade_test fairlead-agent fairlead-other-datapath)
endif()
if(TARGET spoof_test)
  target_link_libraries(spoof_test PRIVATE fl_live_load)
endif()
fl_library(lasting_flows SRCS lasting_flows.cc DEPS service_bed GTest::gtest)
fl_test(lasting_test LABEL netns TIMEOUT 600
  SRCS lasting_test.cc DEPS lasting_flows service_bed)
if(TARGET lasting_test)
  add_dependencies(lasting_test fairlead-agent fairlead-other-datapath)
endif()
fl_library(kube_proxy_world SRCS kube_proxy_world.cc DEPS service_bed netlink
  GTest::gtest)
fl_test(takeover_test LABEL netns TIMEOUT 300
  SRCS takeover_test.cc DEPS kube_proxy_world live_load service_bed)
if(TARGET takeover_test)
  add_dependencies(takeover_test fairlead-agent)
endif()
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  add_library(fl_crash_at_write SHARED crash_at_write.cc)
  target_link_libraries(fl_crash_at_write PRIVATE fl_flags dl)
  set_target_properties(fl_crash_at_write PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
  fl_test(crash_test LABEL netns TIMEOUT 600
    SRCS crash_test.cc DEPS live_load service_bed)
  if(TARGET crash_test)
    add_dependencies(crash_test fairlead-agent fl_crash_at_write)
  endif()
endif()
