# The corpus is random bytes: from nothing, no long history would come up soon.
fl_fuzz(cluster_fuzz SRCS cluster_fuzz.cc DEPS history
  CORPUS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/cluster)
if(FAIRLEAD_FUZZ)
  # Whole tables are compared after each step: ten times as slow without.
  foreach(library model reconcile fake_maps history)
    target_compile_options(fl_${library} PRIVATE -O1)
  endforeach()
endif()
