fl_test(store_test LABEL unit SRCS store_test.cc DEPS store)
fl_test(api_patch_test LABEL unit SRCS patch_test.cc selector_test.cc
  DEPS api store kube)
fl_test(api_verbs_test LABEL unit
  SRCS verbs_test.cc api_watch_test.cc api_reviews_test.cc
       api_recorded_answers_test.cc
  DEPS api store kube)
fl_test(api_http_test LABEL unit SRCS api_http_test.cc api_health_test.cc
  DEPS api store kube)
fl_test(api_apply_test LABEL unit
  SRCS api_apply_recorded_test.cc api_managed_fields_test.cc
  DEPS api store kube)
fl_test(api_protobuf_test LABEL unit
  SRCS protobuf_test.cc protobuf_server_test.cc DEPS api store kube)
