fl_library(syn_flood SRCS syn_flood.cc DEPS service_bed harness base)
fl_test(syn_flood_test LABEL netns TIMEOUT 300
  SRCS syn_flood_test.cc DEPS syn_flood service_bed datapath)
if(TARGET syn_flood_test)
  add_dependencies(syn_flood_test fairlead-agent)
endif()
