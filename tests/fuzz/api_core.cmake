fl_fuzz(api_request_fuzz SRCS api_request_fuzz.cc DEPS api store kube
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/api_request)
fl_fuzz(api_patch_fuzz SRCS api_patch_fuzz.cc DEPS api store kube
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/api_patch)
fl_fuzz(http_bytes_fuzz SRCS http_bytes_fuzz.cc DEPS api store kube
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/http_bytes)
fl_fuzz(yaml_fuzz SRCS yaml_fuzz.cc DEPS api kube
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/yaml)
