fl_library(fake_maps
  SRCS fake_maps.cc
  DEPS reconcile base)
