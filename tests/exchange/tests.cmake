# The caller against a real HTTPS server, which the test runs in threads of its own.
find_package(OpenSSL REQUIRED COMPONENTS SSL)
presignd_test(exchange.caller ${CMAKE_CURRENT_LIST_DIR}/caller.c OpenSSL::SSL)
target_sources(test-exchange.caller PRIVATE
  ${CMAKE_CURRENT_LIST_DIR}/certs.c ${CMAKE_CURRENT_LIST_DIR}/server.c)
