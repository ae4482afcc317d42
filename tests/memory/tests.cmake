# Failing allocations. The sanitizers have their own allocator.
if(NOT PRESIGND_SANITIZE)
  foreach(name verdicts transfers)
    presignd_test(memory.${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
    target_sources(test-memory.${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/allocator.c)
  endforeach()
  find_package(OpenSSL REQUIRED COMPONENTS SSL)
  target_link_libraries(test-memory.transfers PRIVATE OpenSSL::SSL)
  target_sources(test-memory.transfers PRIVATE
    ${PROJECT_SOURCE_DIR}/tests/exchange/certs.c ${PROJECT_SOURCE_DIR}/tests/exchange/server.c
    ${PROJECT_SOURCE_DIR}/tests/exchange/world.c)
endif()
