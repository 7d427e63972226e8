fl_test(reconcile_test LABEL unit SRCS reconcile_test.cc slot_allocator_test.cc
  DEPS fake_maps reconcile model)
fl_test(reconcile_property_test LABEL unit
  SRCS reconcile_property_test.cc DEPS fake_maps reconcile model)
