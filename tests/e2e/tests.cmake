# tests/e2e/test_NAME.py   one unittest file each, named e2e.NAME: whole programs and a real
#                          Apache Kafka. They show what a user gets, so they run once, in the
#                          build without sanitizers, and one after the other. They mostly wait,
#                          so they start first (COST) and everything else runs beside them.
if(NOT PRESIGND_SANITIZE)
  file(GLOB e2e_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
  presignd_scripts(e2e "${e2e_tests}" RESOURCE_LOCK kafka COST 100)
  # Skips where the history does not have the older version.
  set_tests_properties(e2e.downgrade PROPERTIES SKIP_RETURN_CODE 77)
endif()
