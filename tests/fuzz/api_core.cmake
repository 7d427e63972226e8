fl_fuzz(api_request_fuzz SRCS api_request_fuzz.cc DEPS api store kube)
fl_fuzz(api_patch_fuzz SRCS api_patch_fuzz.cc DEPS api store kube)
