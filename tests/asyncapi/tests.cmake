# tests/asyncapi/   docs.asyncapi: the AsyncAPI document of the topics.
find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(PRESIGND_PYTHON AND NOT PRESIGND_SANITIZE)
  add_test(NAME docs.asyncapi COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/test_asyncapi.py -v)
  set_tests_properties(docs.asyncapi PROPERTIES TIMEOUT 120)
endif()
