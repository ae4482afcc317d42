# The caller against a real HTTPS server, which runs in threads of the test.
find_package(OpenSSL REQUIRED COMPONENTS SSL)
function(presignd_exchange_test name)
  presignd_test(exchange.${name} ${PROJECT_SOURCE_DIR}/tests/exchange/${name}.c OpenSSL::SSL)
  target_sources(test-exchange.${name} PRIVATE
    ${PROJECT_SOURCE_DIR}/tests/exchange/certs.c ${PROJECT_SOURCE_DIR}/tests/exchange/server.c
    ${PROJECT_SOURCE_DIR}/tests/exchange/world.c)
endfunction()
presignd_exchange_test(caller)
presignd_exchange_test(faults)
presignd_exchange_test(between)
presignd_exchange_test(refresher)
