fl_test(pki_test LABEL unit SRCS pki_test.cc DEPS pki)
