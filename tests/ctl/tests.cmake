# tests/ctl/test_NAME.py   one unittest file each, named ctl.NAME: presignctl alone, in every
#                          build, so that the sanitizers see it too. Commands that read the
#                          [kafka] section start librdkafka's threads, which ThreadSanitizer
#                          cannot follow: test_events.py runs without it.
file(GLOB ctl_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
if(PRESIGND_SANITIZE MATCHES "thread")
  list(FILTER ctl_tests EXCLUDE REGEX "test_events\\.py$")
endif()
presignd_scripts(ctl "${ctl_tests}" FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
