fl_test(api_kinds_test LABEL unit
  SRCS api_job_test.cc api_quantity_test.cc api_schema_test.cc api_tables_test.cc
       api_discovery_test.cc
  DEPS api)
fl_test(api_recorded_writes_test LABEL unit
  SRCS api_recorded_writes_test.cc api_allocator_test.cc
  DEPS api)
fl_test(api_metrics_test LABEL unit SRCS api_metrics_test.cc
  DEPS api store kube)
