# tests/docs/   docs.pages: links, runbooks, translations.
find_program(PRESIGND_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(PRESIGND_PYTHON AND NOT PRESIGND_SANITIZE)
  add_test(NAME docs.pages COMMAND ${PRESIGND_PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/test_pages.py -v)
  set_tests_properties(docs.pages PROPERTIES TIMEOUT 120)
endif()
