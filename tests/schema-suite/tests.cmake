# The official JSON Schema test suite, downloaded once and kept in the build directory. If it cannot
# be downloaded, the test is skipped, or fails with PRESIGND_REQUIRE_SUITES=1 in the environment.
add_executable(schema-suite schema-suite/run.c)
target_link_libraries(schema-suite PRIVATE core)
add_test(NAME schema.suite${test_suffix}
         COMMAND ${CMAKE_CURRENT_LIST_DIR}/run $<TARGET_FILE:schema-suite>
                 ${PROJECT_SOURCE_DIR}/build/schema-suite)
set_tests_properties(schema.suite${test_suffix} PROPERTIES
  TIMEOUT 900 SKIP_RETURN_CODE 77 FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
