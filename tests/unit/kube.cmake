fl_test(kube_decode_test LABEL unit SRCS kube_decode_test.cc DEPS kube)
fl_test(kube_reflector_test LABEL unit SRCS kube_reflector_test.cc DEPS kube)
fl_test(kube_http_test LABEL unit SRCS kube_http_test.cc DEPS kube)
