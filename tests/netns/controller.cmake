fl_test(controller_test LABEL netns TIMEOUT 240
  SRCS controller_test.cc fake_nodes.cc DEPS kube absl::strings)
if(TARGET controller_test)
  add_dependencies(controller_test fairlead-controller)
endif()
