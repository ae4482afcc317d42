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

# Answers that come together are verified by the stand-in of libcrypto_mb, too.
presignd_exchange_test(batches)
foreach(name between batches)
  target_link_libraries(test-exchange.${name} PRIVATE -Wl,--no-as-needed crypto-mb-stand-in)
endforeach()
add_test(NAME exchange.between_in_batches${test_suffix} COMMAND test-exchange.between)
set_tests_properties(exchange.between_in_batches${test_suffix} PROPERTIES
                     TIMEOUT 900 FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
set_tests_properties(exchange.between_in_batches${test_suffix} exchange.batches${test_suffix}
                     PROPERTIES ENVIRONMENT EXCHANGE_IN_BATCHES=1)
