# tests/ctl/test_NAME.py   one unittest file each, named ctl.NAME: presignctl alone, in every
#                          build, so that the sanitizers see it too. Commands that read the
#                          [kafka] section start librdkafka's threads, for which
#                          ThreadSanitizer has no eyes: test_events.py runs without it.
find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(PRESIGND_PYTHON)
  file(GLOB ctl_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
  if(PRESIGND_SANITIZE MATCHES "thread")
    list(FILTER ctl_tests EXCLUDE REGEX "test_events\\.py$")
  endif()
  foreach(file ${ctl_tests})
    get_filename_component(stem ${file} NAME_WE)
    string(REPLACE "test_" "" stem ${stem})
    add_test(NAME ctl.${stem}${test_suffix} COMMAND ${PRESIGND_PYTHON} -B ${file} -v)
    set_tests_properties(ctl.${stem}${test_suffix} PROPERTIES TIMEOUT 300
                         ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}"
                         FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
  endforeach()
else()
  message(WARNING "no /usr/bin/python3: the tests of presignctl are left out")
endif()
