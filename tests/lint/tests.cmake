# lint.rules runs the rules of scripts/lint on planted errors, the other tests check the tree. A
# missing tool skips its test (77) and says so in its output.
include(ProcessorCount)
ProcessorCount(cores)

function(presignd_lint name cores)
  add_test(NAME lint.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(lint.${name} PROPERTIES
    SKIP_RETURN_CODE 77 PROCESSORS ${cores} TIMEOUT 1800)
endfunction()

# Once is enough, and scripts/test runs several builds as one.
if(PRESIGND_SANITIZE)
  return()
endif()

presignd_lint(format 1 scripts/format --check)
presignd_lint(sizes 1 scripts/lint --sizes)
presignd_lint(rooms 1 scripts/lint --rooms)
presignd_lint(names 1 scripts/lint --names)
presignd_lint(terms 1 scripts/lint --terms)
file(GLOB lint_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
presignd_scripts(lint "${lint_tests}")
presignd_lint(tidy ${cores} scripts/lint --tidy)
presignd_lint(analyzer ${cores} scripts/lint --analyzer)
# Both configure build/clang.
set_tests_properties(lint.tidy lint.analyzer PROPERTIES RESOURCE_LOCK build-clang)
