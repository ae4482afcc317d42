# The Debian package: built, checked by lintian, then installed on a machine with a real systemd.
if(NOT PRESIGND_SANITIZE AND PRESIGND_PYTHON)
  set(package_dir ${CMAKE_BINARY_DIR}/package)
  add_test(NAME package.build COMMAND ${PROJECT_SOURCE_DIR}/scripts/package ${package_dir})
  set_tests_properties(package.build PROPERTIES TIMEOUT 1800 SKIP_RETURN_CODE 77
                       FIXTURES_SETUP package)
  presignd_script(package.machine ${CMAKE_CURRENT_LIST_DIR}/test_package.py)
  set_tests_properties(package.machine PROPERTIES
    SKIP_RETURN_CODE 77 FIXTURES_REQUIRED package RESOURCE_LOCK kafka-2
    ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR};PRESIGND_PACKAGE_DIR=${package_dir}")
endif()
