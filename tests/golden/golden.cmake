fl_library(fake_maps
  SRCS fake_maps.cc
  DEPS reconcile base)
fl_library(golden_runner
  SRCS golden_main.cc runner.cc
  DEPS fake_maps reconcile model kube base nlohmann_json::nlohmann_json
       GTest::gtest)
target_compile_definitions(fl_golden_runner PRIVATE
  FAIRLEAD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
fl_test(reconcile_golden_test LABEL golden
  SRCS reconcile_golden_test.cc DEPS golden_runner)
fl_test(kernel_golden_test LABEL prog
  SRCS kernel_golden_test.cc DEPS golden_runner harness datapath)
if(FAIRLEAD_TESTS)
  # A runner that passes everything would go unnoticed: this case's outputs
  # are wrong on purpose.
  add_test(NAME golden.canary COMMAND reconcile_golden_test
    --cases=${PROJECT_SOURCE_DIR}/tests/golden/canary)
  set_tests_properties(golden.canary PROPERTIES LABELS golden
    PASS_REGULAR_EXPRESSION "FAILED  . Golden.wrong_endpoint")
endif()
