fl_fuzz(spdy_fuzz SRCS spdy_fuzz.cc DEPS spdy
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/spdy)
