fl_fuzz(api_objects_fuzz SRCS api_objects_fuzz.cc DEPS api
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/api_objects)
fl_fuzz(api_apply_fuzz SRCS api_apply_fuzz.cc DEPS api
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/api_apply)
fl_fuzz(api_protobuf_fuzz SRCS api_protobuf_fuzz.cc DEPS api
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/api_protobuf)
