fl_test(api_identity_test LABEL unit
  SRCS api_identity_test.cc api_rbac_test.cc api_service_accounts_test.cc
  DEPS api store kube pki)
