# The client's signatures against an independent implementation, which is installed at test time.
# If it cannot be installed, the test is skipped (77).
if(NOT PRESIGND_SANITIZE AND PRESIGND_PYTHON)
  add_executable(wechatpay-probe ${CMAKE_CURRENT_LIST_DIR}/wechatpay_probe.c)
  target_link_libraries(wechatpay-probe PRIVATE core)
  add_test(NAME wechatpay.interop
           COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/wechatpay.py
                   $<TARGET_FILE:wechatpay-probe> ${CMAKE_BINARY_DIR}/interop-venv)
  set_tests_properties(wechatpay.interop PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)
endif()
