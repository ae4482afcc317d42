# The demo, as a newcomer runs it, and what it does when things go wrong. Not under
# ThreadSanitizer, for which librdkafka is not built.
if(NOT PRESIGND_SANITIZE MATCHES "thread")
  add_test(NAME demo.run${test_suffix} COMMAND presignctl demo)
  set_tests_properties(demo.run${test_suffix} PROPERTIES TIMEOUT 120
                       FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
  find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
  if(PRESIGND_PYTHON)
    add_test(NAME demo.keep${test_suffix}
             COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/test_demo.py -v)
    set_tests_properties(demo.keep${test_suffix} PROPERTIES TIMEOUT 300
                         ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}"
                         FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
  endif()
endif()
