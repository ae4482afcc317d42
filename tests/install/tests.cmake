# What `cmake --install` puts where, and whether systemd's and man's tools accept it.
add_test(NAME install.files${test_suffix}
         COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/install/run ${CMAKE_COMMAND} ${CMAKE_BINARY_DIR})
set_tests_properties(install.files${test_suffix} PROPERTIES TIMEOUT 900)
add_test(NAME install.catalog${test_suffix}
         COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/install/catalog ${PROJECT_SOURCE_DIR})
set_tests_properties(install.catalog${test_suffix} PROPERTIES TIMEOUT 900)
# `scripts/setup --build` installs no Python, and scripts/demo configures after it.
add_test(NAME install.without_python${test_suffix}
         COMMAND ${CMAKE_COMMAND} -S ${PROJECT_SOURCE_DIR} -B ${CMAKE_BINARY_DIR}/without-python
                 -G ${CMAKE_GENERATOR} -DPRESIGND_PYTHON=)
set_tests_properties(install.without_python${test_suffix} PROPERTIES TIMEOUT 900)
