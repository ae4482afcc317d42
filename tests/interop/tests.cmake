# Implementations of the API that share no code with us. They are installed at test time; without
# them a test is skipped (77).
if(NOT PRESIGND_SANITIZE AND PRESIGND_PYTHON)
  add_executable(wechatpay-probe ${CMAKE_CURRENT_LIST_DIR}/wechatpay_probe.c)
  target_link_libraries(wechatpay-probe PRIVATE core)
  add_test(NAME wechatpay.interop
           COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/wechatpay.py
                   $<TARGET_FILE:wechatpay-probe> ${CMAKE_BINARY_DIR}/interop-venv)
  add_test(NAME wechatpay.clients_python
           COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/clients.py
                   $<TARGET_FILE:presignctl> python ${CMAKE_BINARY_DIR}/interop-venv)
  add_test(NAME wechatpay.clients_go
           COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/clients.py
                   $<TARGET_FILE:presignctl> go ${CMAKE_BINARY_DIR}/interop-go)
  add_test(NAME wechatpay.server
           COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/calls.py
                   $<TARGET_FILE:presignctl> ${CMAKE_BINARY_DIR}/interop-venv)
  set_tests_properties(wechatpay.interop wechatpay.server wechatpay.clients_python wechatpay.clients_go
                       PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)
endif()
