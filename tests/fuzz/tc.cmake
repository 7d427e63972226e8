fl_fuzz(parse_fuzz SRCS parse_fuzz.cc CORPUS
  ${CMAKE_CURRENT_SOURCE_DIR}/corpus/parse)
