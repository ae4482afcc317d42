# The pipeline in a simulated world, see tests/sim/README.md. It runs under every sanitizer.
set(sim_world ${CMAKE_CURRENT_LIST_DIR}/sim.c ${CMAKE_CURRENT_LIST_DIR}/log.c
    ${CMAKE_CURRENT_LIST_DIR}/endpoint.c ${CMAKE_CURRENT_LIST_DIR}/lists.c
    ${CMAKE_CURRENT_LIST_DIR}/group.c
    ${CMAKE_CURRENT_LIST_DIR}/clients.c ${CMAKE_CURRENT_LIST_DIR}/observe.c
    ${CMAKE_CURRENT_LIST_DIR}/chaos.c)
add_executable(sim ${sim_world} ${CMAKE_CURRENT_LIST_DIR}/main.c)
target_link_libraries(sim PRIVATE core)
# stories.c becomes sim-stories, stories_NAME.c sim-stories-NAME.
file(GLOB sim_stories CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/stories*.c)
foreach(file ${sim_stories})
  get_filename_component(stem ${file} NAME_WE)
  string(REPLACE "_" "-" stem sim-${stem})
  add_executable(${stem} ${sim_world} ${file})
  target_link_libraries(${stem} PRIVATE core)
endforeach()

function(presignd_sim name)
  add_test(NAME sim.${name}${test_suffix} COMMAND ${ARGN})
  set_tests_properties(sim.${name}${test_suffix} PROPERTIES
    TIMEOUT 1800 FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
endfunction()

# ThreadSanitizer is slow, and the simulation has one thread: a few seeds are enough.
if(PRESIGND_SANITIZE MATCHES "thread")
  presignd_sim(pipeline sim --seeds 1 4 --events 1000)
elseif(PRESIGND_SANITIZE)
  presignd_sim(pipeline sim --seeds 1 40 --events 1500)
else()
  presignd_sim(pipeline sim --seeds 1 60 --events 3000)
  presignd_sim(at-least-once sim --seeds 1 40 --events 2000 --at-least-once)
  presignd_sim(mixed sim --seeds 1 30 --events 2000 --mixed)
  presignd_sim(replay sim --seeds 61 64 --events 2000 --twice)
  foreach(file ${sim_stories})
    get_filename_component(stem ${file} NAME_WE)
    string(REPLACE "_" "-" stem ${stem})
    presignd_sim(${stem} sim-${stem})
  endforeach()
  # The sanitizers do not see reads of memory that was never written.
  find_program(VALGRIND valgrind)
  if(VALGRIND AND NOT PRESIGND_COVERAGE)
    presignd_sim(valgrind ${VALGRIND} --quiet --error-exitcode=99 --leak-check=full
      --errors-for-leak-kinds=definite,indirect,possible $<TARGET_FILE:sim> --seeds 1 3 --events 300)
  endif()
endif()
