# The data path with other layouts of its maps, of the same sources: what a
# node is upgraded to, and goes back from.
get_target_property(upgrade_datapath fl_datapath SOURCES)
list(TRANSFORM upgrade_datapath PREPEND
  ${PROJECT_SOURCE_DIR}/userspace/datapath/)
get_target_property(upgrade_reconcile fl_reconcile SOURCES)
list(TRANSFORM upgrade_reconcile PREPEND
  ${PROJECT_SOURCE_DIR}/userspace/reconcile/)
add_executable(fairlead-other-datapath other_datapath.cc ${upgrade_datapath}
  ${upgrade_reconcile})
target_link_libraries(fairlead-other-datapath PRIVATE fl_flags
  socket_test_layout_skel tc_test_layout_skel fl_model fl_base CLI11::CLI11
  OpenSSL::Crypto)
# Its skeletons, not the agent's.
target_include_directories(fairlead-other-datapath BEFORE PRIVATE
  ${CMAKE_BINARY_DIR}/test_layout/gen)
fl_test(upgrade_test LABEL netns TIMEOUT 180
  SRCS upgrade_test.cc DEPS service_bed absl::time)
if(TARGET upgrade_test)
  add_dependencies(upgrade_test fairlead-agent fairlead-other-datapath)
endif()
