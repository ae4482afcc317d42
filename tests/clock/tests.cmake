# Sets the wall clock of one process; see setclock.c and tests/e2e/set_clock.py.
if(NOT PRESIGND_SANITIZE)
  add_library(presignd-setclock MODULE ${CMAKE_CURRENT_LIST_DIR}/setclock.c)
  set_target_properties(presignd-setclock PROPERTIES PREFIX "")
  target_compile_definitions(presignd-setclock PRIVATE _GNU_SOURCE)
  target_link_libraries(presignd-setclock PRIVATE ${CMAKE_DL_LIBS})
endif()
