# The pipeline in a simulated world, see tests/sim/README.md. Runs under every sanitizer.
file(GLOB sim_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
add_executable(sim ${sim_sources})
target_link_libraries(sim PRIVATE core)
# ThreadSanitizer is slow, and the simulation has one thread: a few seeds will do there.
if(PRESIGND_SANITIZE MATCHES "thread")
  set(sim_seeds 1 8)
else()
  set(sim_seeds 1 40)
endif()
add_test(NAME sim.pipeline${test_suffix} COMMAND sim --seeds ${sim_seeds} --events 1500)
set_tests_properties(sim.pipeline${test_suffix} PROPERTIES
  TIMEOUT 300 FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
