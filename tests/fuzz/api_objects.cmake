fl_fuzz(api_objects_fuzz SRCS api_objects_fuzz.cc DEPS api
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/api_objects)
