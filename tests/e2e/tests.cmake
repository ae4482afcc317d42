# tests/e2e/test_NAME.py   one unittest file each, named e2e.NAME: whole programs and a real
#                          Apache Kafka. They look at what a user gets, so they run once, in
#                          the build without sanitizers, and one after the other. Mostly they
#                          wait, so that they begin first (COST) and all else runs beside them.
if(NOT PRESIGND_SANITIZE)
  # Debian's own Python: the one for which apt installs confluent_kafka.
  find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
  if(PRESIGND_PYTHON)
    file(GLOB e2e_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
    foreach(file ${e2e_tests})
      get_filename_component(stem ${file} NAME_WE)
      string(REPLACE "test_" "" stem ${stem})
      add_test(NAME e2e.${stem} COMMAND ${PRESIGND_PYTHON} -B ${file} -v)
      set_tests_properties(e2e.${stem} PROPERTIES TIMEOUT 300 RESOURCE_LOCK kafka COST 100
                           ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}")
    endforeach()
  else()
    message(WARNING "no /usr/bin/python3: the e2e tests are left out")
  endif()
endif()
