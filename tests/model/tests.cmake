# The model of the delivery protocol (README.md). It does not depend on the build, so it runs once.
if(NOT PRESIGND_SANITIZE)
  set(model_run ${CMAKE_CURRENT_LIST_DIR}/run)
  add_test(NAME model.delivery COMMAND ${model_run} delivery)
  set_tests_properties(model.delivery PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800 COST 60)
  add_test(NAME model.names COMMAND ${model_run} names)
  # Each without one safeguard: the test passes if spin finds the resulting error, and if the kept
  # trace shows it.
  foreach(name NO_FENCING NO_DONE_SET NO_UNION COMMIT_HIGHEST NO_REINIT NO_STABLE NO_UNDO
               NO_ORPHANS LATE_SESSION NO_MAY_COMMIT NO_TAKE_OVER STALE_POSITIONS EARLY_FETCH NO_PENDING
               NO_ID_FIRST NO_DELIVERED NO_WAIT POSITIONS_FIRST)
    add_test(NAME model.ablation.${name} COMMAND ${model_run} ablation ${name})
    set_tests_properties(model.ablation.${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800)
  endforeach()
endif()
