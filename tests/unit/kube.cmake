fl_test(kube_decode_test LABEL unit
  SRCS kube_decode_test.cc kube_json_text_test.cc DEPS kube)
fl_test(kube_reflector_test LABEL unit SRCS kube_reflector_test.cc DEPS kube)
fl_test(kube_protobuf_test LABEL unit SRCS kube_protobuf_test.cc DEPS api kube)
fl_test(kube_http_test LABEL unit SRCS kube_http_test.cc DEPS kube)
fl_test(kube_events_test LABEL unit SRCS kube_events_test.cc DEPS kube)
fl_test(kube_watch_test LABEL unit SRCS kube_watch_test.cc DEPS kube)
fl_test(kube_servers_test LABEL unit SRCS kube_servers_test.cc DEPS kube)
