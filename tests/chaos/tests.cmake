# Random faults on a real Apache Kafka of three nodes, see tests/chaos/README.md: the tests of its
# tools, and a short run. scripts/chaos runs longer.
if(NOT PRESIGND_SANITIZE)
  # The daemon without one of its safeguards, see ablated.c. It is never installed.
  set(wrapped window_load window_finish batch_undo client_committed verify_many
      rd_kafka_conf_set rd_kafka_send_offsets_to_transaction rd_kafka_commit_transaction)
  list(TRANSFORM wrapped PREPEND "-Wl,--wrap=")
  add_executable(presignd-ablated ${PROJECT_SOURCE_DIR}/src/main.c
                                  ${CMAKE_CURRENT_LIST_DIR}/ablated.c)
  target_link_libraries(presignd-ablated PRIVATE core)
  target_link_options(presignd-ablated PRIVATE ${wrapped})
  # The same for `presignctl redrive`, which uses the same window.
  add_executable(presignctl-ablated ${ctl_sources} ${CMAKE_CURRENT_LIST_DIR}/ablated.c)
  target_link_libraries(presignctl-ablated PRIVATE core)
  target_link_options(presignctl-ablated PRIVATE ${wrapped})
  set_target_properties(presignd-ablated presignctl-ablated PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

  presignd_script(chaos.audit ${CMAKE_CURRENT_LIST_DIR}/test_calls_audit.py)
  presignd_script(chaos.load ${CMAKE_CURRENT_LIST_DIR}/test_load.py)
  if(PRESIGND_PYTHON)
    add_test(NAME chaos.short
             COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/chaos.py --short --events 2000)
    set_tests_properties(chaos.short PROPERTIES TIMEOUT 1800 RESOURCE_GROUPS kafka:2
                         ENVIRONMENT "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}")
    foreach(version 2.5.1 4.4.0)
      add_test(NAME chaos.short-${version}
               COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/chaos.py --short --events 800)
      set(other "PRESIGND_BUILD_DIR=${CMAKE_BINARY_DIR}" "PRESIGND_KAFKA_VERSION=${version}")
      set_tests_properties(chaos.short-${version} PROPERTIES TIMEOUT 1800 RESOURCE_GROUPS kafka:2
                           ENVIRONMENT "${other}")
    endforeach()
  endif()
endif()
