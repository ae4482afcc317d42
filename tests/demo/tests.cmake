# The demo, and its behaviour on errors. Not under ThreadSanitizer: librdkafka is not built for it.
if(NOT PRESIGND_SANITIZE MATCHES "thread")
  add_test(NAME demo.run${test_suffix} COMMAND presignctl demo)
  set_tests_properties(demo.run${test_suffix} PROPERTIES TIMEOUT 900
                       FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
  presignd_script(demo.keep${test_suffix} ${CMAKE_CURRENT_LIST_DIR}/test_demo.py
                  FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
endif()
