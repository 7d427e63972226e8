fl_test(preconditions_test LABEL netns SRCS preconditions_test.cc
  DEPS harness base datapath)
if(TARGET preconditions_test)
  add_dependencies(preconditions_test fairlead-agent fairlead-kubelet
    fairlead-shim fairleadctl)
endif()
