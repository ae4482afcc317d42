# tests/e2e/test_NAME.py   one unittest file each, named e2e.NAME: whole programs and a real
#                          Apache Kafka. They show what a user gets, so they run once, in the
#                          build without sanitizers. They mostly wait, so they start first
#                          (COST) and everything else runs beside them. Each JVM takes memory,
#                          so only a few run at once (tests/resources.json).
if(NOT PRESIGND_SANITIZE AND PRESIGND_PYTHON)
  file(GLOB e2e_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
  foreach(file ${e2e_tests})
    presignd_scripts(e2e ${file} RESOURCE_GROUPS kafka:1 COST 100)
  endforeach()
  # With the oldest Kafka that presignd supports, and with the newest.
  foreach(version 2.5.1 4.4.0)
    set(other "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}" "PRESIGND_KAFKA_VERSION=${version}"
              PRESIGND_E2E_EVENTS=1500)
    foreach(name whole_way exactly_once)
      set(classes "")
      if(name STREQUAL exactly_once)
        set(classes TwoDaemons) # the auditor's own proof does not go by the broker
      endif()
      add_test(NAME e2e.${name}-${version}
               COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/test_${name}.py -v ${classes})
      set_tests_properties(e2e.${name}-${version} PROPERTIES TIMEOUT 1800 COST 100
                           RESOURCE_GROUPS kafka:1 ENVIRONMENT "${other}")
    endforeach()
  endforeach()
  # Skips where the history does not have the older version.
  set_tests_properties(e2e.downgrade PROPERTIES SKIP_RETURN_CODE 77)
endif()
