# A libcrypto_mb that works on any processor, for the tests of the batch signer.
add_library(crypto-mb-stand-in SHARED ${CMAKE_CURRENT_LIST_DIR}/stand_in.c)
target_link_libraries(crypto-mb-stand-in PRIVATE presignd_flags PkgConfig::dependencies)
target_include_directories(crypto-mb-stand-in PRIVATE ${PROJECT_SOURCE_DIR}/tests)
set_target_properties(crypto-mb-stand-in PROPERTIES OUTPUT_NAME crypto_mb SOVERSION 13
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/crypto-mb-stand-in)
# Linked, it is what dlopen(3) finds by its soname.
foreach(target test-sign.backend test-wechatpay.verify_many test-plain.sign_backend)
  if(TARGET ${target})
    target_link_libraries(${target} PRIVATE -Wl,--no-as-needed crypto-mb-stand-in)
  endif()
endforeach()

# The real one, linked from the static library of its Python package.
if(NOT PRESIGND_SANITIZE AND PRESIGND_PYTHON)
  add_executable(crypto-mb-many ${CMAKE_CURRENT_LIST_DIR}/many.c)
  target_link_libraries(crypto-mb-many PRIVATE core)
  target_include_directories(crypto-mb-many PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  add_test(NAME crypto_mb.many
           COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/real.py
                   ${CMAKE_BINARY_DIR}/crypto-mb $<TARGET_FILE:crypto-mb-many> 8000 3000 1500)
  set_tests_properties(crypto_mb.many PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)
endif()
