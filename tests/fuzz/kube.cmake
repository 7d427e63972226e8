set(kube_corpus ${PROJECT_SOURCE_DIR}/tests/unit/testdata/kube)
fl_fuzz(kube_decode_fuzz SRCS kube_decode_fuzz.cc DEPS kube
  CORPUS ${kube_corpus})
fl_fuzz(kube_watch_fuzz SRCS kube_watch_fuzz.cc DEPS kube
  CORPUS ${kube_corpus})
fl_fuzz(kubeconfig_fuzz SRCS kubeconfig_fuzz.cc DEPS kube)
fl_fuzz(kube_protobuf_fuzz SRCS kube_protobuf_fuzz.cc DEPS kube
  CORPUS ${kube_corpus})
fl_fuzz(json_text_fuzz SRCS json_text_fuzz.cc DEPS kube
  CORPUS ${kube_corpus})
