# The delivery protocol's model (README.md): it knows nothing of our builds, so once is enough.
if(NOT PRESIGND_SANITIZE)
  set(model_run ${CMAKE_CURRENT_LIST_DIR}/run)
  add_test(NAME model.delivery COMMAND ${model_run} delivery)
  set_tests_properties(model.delivery PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 COST 60)
  add_test(NAME model.names COMMAND ${model_run} names)
  # Without one safeguard each: passing means that spin finds what then goes wrong, and that the
  # kept trace tells it.
  foreach(name NO_FENCING NO_DONE_SET NO_UNION COMMIT_HIGHEST NO_REINIT NO_STABLE NO_UNDO
               NO_ORPHANS LATE_SESSION NO_MAY_COMMIT NO_TAKE_OVER STALE_POSITIONS EARLY_FETCH NO_DRAFT
               NO_ID_FIRST)
    add_test(NAME model.ablation.${name} COMMAND ${model_run} ablation ${name})
    set_tests_properties(model.ablation.${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
  endforeach()
endif()
