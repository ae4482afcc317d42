# tests/systemd/test_NAME.py   one unittest file each, named systemd.NAME: the installed service
#                              under a real systemd, booted in namespaces. It takes root; where none
#                              can be booted, the test is skipped and says so. In the row of
#                              kafka-room, beside that of e2e.
if(NOT PRESIGND_SANITIZE)
  # The daemon in which something hangs; see planted_wedge.c. Never installed.
  add_executable(presignd-wedged ${PROJECT_SOURCE_DIR}/src/main.c
                                 ${CMAKE_CURRENT_LIST_DIR}/planted_wedge.c)
  target_link_libraries(presignd-wedged PRIVATE core)
  target_link_options(presignd-wedged PRIVATE
    -Wl,--wrap=pipeline_step,--wrap=sign_bytes,--wrap=producer_publish)
  set_target_properties(presignd-wedged PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  # What the unit keeps a process from; see probe.c.
  add_executable(systemd-probe ${CMAKE_CURRENT_LIST_DIR}/probe.c)
  target_link_libraries(systemd-probe PRIVATE presignd_flags)

  find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
  if(PRESIGND_PYTHON)
    file(GLOB systemd_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
    foreach(file ${systemd_tests})
      get_filename_component(stem ${file} NAME_WE)
      string(REPLACE "test_" "" stem ${stem})
      add_test(NAME systemd.${stem} COMMAND ${PRESIGND_PYTHON} -B ${file} -v)
      set_tests_properties(systemd.${stem} PROPERTIES TIMEOUT 600 RESOURCE_LOCK kafka-room COST 200
                           SKIP_RETURN_CODE 77
                           ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}")
    endforeach()
  else()
    message(WARNING "no /usr/bin/python3: the tests under systemd are left out")
  endif()
endif()
