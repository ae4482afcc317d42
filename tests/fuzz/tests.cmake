# tests/fuzz/TARGET.c   one fuzz target each: with libFuzzer in the preset "fuzz" (scripts/fuzz); in
#                       the other builds, the test fuzz.TARGET runs it on seeds and known cases.
set(fuzz_targets record schema pattern instance answer certificates config window)
set(fuzz_directory ${CMAKE_CURRENT_LIST_DIR})
set(fuzz_seeds ${CMAKE_BINARY_DIR}/fuzz/seeds)

function(presignd_fuzz_target target)
  add_executable(fuzz-${target} ${fuzz_directory}/${target}.c ${fuzz_directory}/fuzz.c ${ARGN})
  target_link_libraries(fuzz-${target} PRIVATE core)
  target_include_directories(fuzz-${target} PRIVATE ${fuzz_directory})
  target_compile_definitions(fuzz-${target} PRIVATE PRESIGND_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endfunction()

if(PRESIGND_FUZZ)
  foreach(target ${fuzz_targets})
    presignd_fuzz_target(${target})
    target_link_options(fuzz-${target} PRIVATE -fsanitize=fuzzer)
    list(APPEND fuzzers fuzz-${target})
  endforeach()
  add_custom_target(fuzzers DEPENDS ${fuzzers})
elseif(NOT PRESIGND_SANITIZE MATCHES "thread") # targets have one thread
  if(PRESIGND_PYTHON)
    add_test(NAME fuzz.seeds${test_suffix}
             COMMAND ${PRESIGND_PYTHON} -B ${fuzz_directory}/seeds.py ${fuzz_seeds})
    set_tests_properties(fuzz.seeds${test_suffix} PROPERTIES
                         FIXTURES_SETUP fuzz-seeds${test_suffix} TIMEOUT 900)
  endif()
  # The cost of the parsers on hostile inputs, in instructions that callgrind counts.
  find_program(VALGRIND valgrind)
  find_path(VALGRIND_HEADERS valgrind/callgrind.h)
  if(PRESIGND_PYTHON AND VALGRIND AND VALGRIND_HEADERS AND NOT PRESIGND_SANITIZE AND NOT PRESIGND_COVERAGE)
    foreach(target record answer certificates window)
      add_executable(fuzz-cost-${target} ${fuzz_directory}/${target}.c ${fuzz_directory}/fuzz.c
                     ${fuzz_directory}/cost.c)
      target_link_libraries(fuzz-cost-${target} PRIVATE core)
      target_include_directories(fuzz-cost-${target} PRIVATE ${fuzz_directory})
      target_compile_definitions(fuzz-cost-${target} PRIVATE
                                 PRESIGND_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    endforeach()
    add_test(NAME fuzz.cost${test_suffix}
             COMMAND ${PRESIGND_PYTHON} -B ${fuzz_directory}/test_cost.py ${VALGRIND}
                     $<TARGET_FILE_DIR:fuzz-cost-record>)
    set_tests_properties(fuzz.cost${test_suffix} PROPERTIES TIMEOUT 1800)
  endif()
  foreach(target ${fuzz_targets})
    presignd_fuzz_target(${target} ${fuzz_directory}/driver.c)
    add_test(NAME fuzz.${target}${test_suffix}
             COMMAND fuzz-${target} ${fuzz_seeds}/${target} ${fuzz_directory}/cases/${target})
    set_tests_properties(fuzz.${target}${test_suffix} PROPERTIES
                         FIXTURES_REQUIRED fuzz-seeds${test_suffix} TIMEOUT 900
                         FAIL_REGULAR_EXPRESSION "${sanitizer_reports}")
  endforeach()
endif()
