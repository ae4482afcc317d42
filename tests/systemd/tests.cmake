# tests/systemd/test_NAME.py   one unittest file each, named systemd.NAME: the installed service
#                              under a real systemd, booted in namespaces. It takes root; where none
#                              can be booted, the test is skipped and says so.
if(NOT PRESIGND_SANITIZE)
  find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
  if(PRESIGND_PYTHON)
    file(GLOB systemd_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
    foreach(file ${systemd_tests})
      get_filename_component(stem ${file} NAME_WE)
      string(REPLACE "test_" "" stem ${stem})
      add_test(NAME systemd.${stem} COMMAND ${PRESIGND_PYTHON} -B ${file} -v)
      set_tests_properties(systemd.${stem} PROPERTIES TIMEOUT 300 RESOURCE_LOCK kafka
                           SKIP_RETURN_CODE 77
                           ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}")
    endforeach()
  else()
    message(WARNING "no /usr/bin/python3: the tests under systemd are left out")
  endif()
endif()
