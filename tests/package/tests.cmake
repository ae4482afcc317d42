# The packages. The .deb: built, checked by lintian, then installed on a machine with a real systemd.
# Built again: the same. With a bundled librdkafka, and as an RPM: both without optimisation, because
# only their contents are looked at.
if(NOT PRESIGND_SANITIZE AND PRESIGND_PYTHON)
  set(package_dir ${CMAKE_BINARY_DIR}/package)
  function(presignd_package NAME SCRIPT ENVIRONMENT)
    add_test(NAME package.${NAME} COMMAND ${CMAKE_COMMAND} -E env ${ENVIRONMENT}
             ${PROJECT_SOURCE_DIR}/scripts/${SCRIPT} ${ARGN})
    set_tests_properties(package.${NAME} PROPERTIES TIMEOUT 1800 SKIP_RETURN_CODE 77
                         FIXTURES_SETUP package.${NAME})
  endfunction()
  presignd_package(build package "" ${package_dir})
  presignd_package(again package "TZ=Pacific/Kiritimati;LC_ALL=C;USER=another" ${package_dir}-again)
  presignd_package(bundled package "DEB_BUILD_OPTIONS=noopt" --bundled ${package_dir}-bundled)
  presignd_package(rpm rpm "" ${package_dir}-rpm -- --define "optflags -O0 -g")
  presignd_script(package.contents ${CMAKE_CURRENT_LIST_DIR}/test_contents.py)
  string(JOIN ";" dirs PRESIGND_PACKAGE_DIR=${package_dir} PRESIGND_AGAIN_DIR=${package_dir}-again
         PRESIGND_BUNDLED_DIR=${package_dir}-bundled PRESIGND_RPM_DIR=${package_dir}-rpm)
  set_tests_properties(package.contents PROPERTIES ENVIRONMENT "${dirs}"
    FIXTURES_REQUIRED "package.build;package.again;package.bundled;package.rpm")
  presignd_script(package.machine ${CMAKE_CURRENT_LIST_DIR}/test_package.py)
  set_tests_properties(package.machine PROPERTIES
    SKIP_RETURN_CODE 77 FIXTURES_REQUIRED package.build RESOURCE_GROUPS kafka:1
    ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR};PRESIGND_PACKAGE_DIR=${package_dir}")

  add_test(NAME package.curl COMMAND ${CMAKE_CURRENT_LIST_DIR}/curl ${CMAKE_BINARY_DIR}/bundled-curl)
  set_tests_properties(package.curl PROPERTIES TIMEOUT 1800)
endif()
