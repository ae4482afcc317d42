# The demo, as a newcomer runs it, and what it does when things go wrong. Not under
# ThreadSanitizer, for which librdkafka is not built.
if(NOT PRESIGND_SANITIZE MATCHES "thread")
  add_test(NAME demo.run${test_suffix} COMMAND presignctl demo)
  set_tests_properties(demo.run${test_suffix} PROPERTIES TIMEOUT 120
                       FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
  presignd_script(demo.keep${test_suffix} ${CMAKE_CURRENT_LIST_DIR}/test_demo.py
                  FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
endif()
