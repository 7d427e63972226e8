# The product against the reference (tests/reference), at random.
set(reference ${PROJECT_SOURCE_DIR}/tests/reference)
fl_library(reference SRCS ${reference}/state.cc ${reference}/policy.cc
  ${reference}/flows.cc DEPS base kube)
fl_library(differential SRCS differential_world.cc differential_frame.cc
  differential_draw.cc
  differential_socket.cc differential_steps.cc differential.cc
  DEPS harness agent_parts datapath packet reference)
fl_program(differential SRCS differential_main.cc DEPS fl_differential)
fl_test(differential_test LABEL prog SRCS differential_test.cc
  DEPS fl_differential)
# Computes, and waits for nothing: others may run beside it.
if(TARGET differential_test)
  set_tests_properties(prog.differential_test PROPERTIES RUN_SERIAL FALSE)
endif()
fl_test(differential_regressions_test LABEL prog
  SRCS differential_regressions_test.cc DEPS fl_differential)
