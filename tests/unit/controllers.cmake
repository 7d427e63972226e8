fl_test(deployment_plan_test LABEL unit
  SRCS deployment_plan_test.cc replica_set_plan_test.cc DEPS controllers)
fl_test(controllers_test LABEL unit
  SRCS endpoint_mirror_plan_test.cc endpoint_slice_plan_test.cc
       node_plan_test.cc
  DEPS controllers)
fl_test(workload_plan_test LABEL unit
  SRCS job_plan_test.cc workload_plan_test.cc DEPS controllers)
fl_test(clock_jump_test LABEL unit
  SRCS clock_jump_test.cc DEPS controllers api store kube pki)
