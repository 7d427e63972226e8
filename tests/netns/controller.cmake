fl_test(controller_test LABEL netns TIMEOUT 240
  SRCS controller_test.cc fake_nodes.cc DEPS kube absl::strings)
fl_test(controller_store_test LABEL netns TIMEOUT 120
  SRCS controller_store_test.cc fake_nodes.cc DEPS kube absl::strings)
foreach(test controller_test controller_store_test)
  if(TARGET ${test})
    add_dependencies(${test} fairlead-controller)
  endif()
endforeach()
