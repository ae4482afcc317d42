# tests/docs/test_NAME.py   one unittest file each, named docs.NAME: what the documents say.
if(NOT PRESIGND_SANITIZE)
  file(GLOB docs_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
  presignd_scripts(docs "${docs_tests}")
endif()
