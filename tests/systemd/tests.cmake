# tests/systemd/test_NAME.py   one unittest file each, named systemd.NAME: the installed service
#                              under a real systemd, booted in namespaces. It needs root; where
#                              systemd cannot be booted, the test is skipped (77). It runs beside
#                              e2e.
if(NOT PRESIGND_SANITIZE)
  # The daemon with a planted hang, see planted_wedge.c. It is never installed.
  add_executable(presignd-wedged ${PROJECT_SOURCE_DIR}/src/main.c
                                 ${CMAKE_CURRENT_LIST_DIR}/planted_wedge.c)
  target_link_libraries(presignd-wedged PRIVATE core)
  target_link_options(presignd-wedged PRIVATE
    -Wl,--wrap=pipeline_step,--wrap=sign_with,--wrap=producer_publish)
  set_target_properties(presignd-wedged PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  # The daemon with hostile code in its main process, see planted_hostile.c. It is never installed.
  add_executable(presignd-hostile ${PROJECT_SOURCE_DIR}/src/main.c
                                  ${CMAKE_CURRENT_LIST_DIR}/planted_hostile.c)
  target_link_libraries(presignd-hostile PRIVATE core)
  target_link_options(presignd-hostile PRIVATE -Wl,--wrap=pipeline_step,--wrap=signer_new)
  set_target_properties(presignd-hostile PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  # Tries everything that the unit forbids, see probe.c.
  add_executable(systemd-probe ${CMAKE_CURRENT_LIST_DIR}/probe.c)
  target_link_libraries(systemd-probe PRIVATE presignd_flags)

  file(GLOB systemd_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
  presignd_scripts(systemd "${systemd_tests}"
                   TIMEOUT 1800 RESOURCE_GROUPS kafka:1 COST 300 SKIP_RETURN_CODE 77)
endif()
