# The Kafka room on its own, without the daemon: a minimal owner of consumer and publisher that the
# scripted tests drive on a real Apache Kafka, and the publisher's errors on librdkafka's mock
# cluster. Not under ThreadSanitizer: librdkafka is not built for it, so it reports every transfer
# through librdkafka's queues.
if(NOT PRESIGND_SANITIZE MATCHES "thread")
  add_executable(kafka-worker ${CMAKE_CURRENT_LIST_DIR}/worker.c)
  target_link_libraries(kafka-worker PRIVATE core)
  presignd_test(kafka-room.mock ${CMAKE_CURRENT_LIST_DIR}/mock.c)
  target_link_options(test-kafka-room.mock PRIVATE
    -Wl,--wrap=rd_kafka_send_offsets_to_transaction)
  presignd_test(kafka-room.handles ${CMAKE_CURRENT_LIST_DIR}/handles.c)
  target_link_options(test-kafka-room.handles PRIVATE
    -Wl,--wrap=rd_kafka_new,--wrap=rd_kafka_last_error)
  presignd_test(kafka-room.clients ${CMAKE_CURRENT_LIST_DIR}/clients.c)
  target_link_options(test-kafka-room.clients PRIVATE -Wl,--wrap=rd_kafka_destroy_flags)
  if(NOT PRESIGND_RDKAFKA STREQUAL "system")
    presignd_test(kafka-room.bundled ${CMAKE_CURRENT_LIST_DIR}/bundled.c)
  endif()
endif()
if(NOT PRESIGND_SANITIZE)
  file(GLOB room_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
  presignd_scripts(kafka-room "${room_tests}" TIMEOUT 1800 RESOURCE_GROUPS kafka:1 COST 400)
endif()
