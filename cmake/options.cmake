option(PRESIGND_TESTS "Build the tests" ON)
option(PRESIGND_BENCH "Build the benchmark programs" OFF)
option(PRESIGND_WERROR "Treat warnings as errors (our own builds; off for distributors)" OFF)
option(PRESIGND_COVERAGE "Count lines and branches that run (gcc; scripts/coverage)" OFF)
option(PRESIGND_FUZZ "Build the fuzz targets with libFuzzer, which clang has" OFF)
set(PRESIGND_CURL "system" CACHE STRING "libcurl: system, or bundled (pinned in cmake/bundled)")
set_property(CACHE PRESIGND_CURL PROPERTY STRINGS system bundled)
set(PRESIGND_RDKAFKA "system" CACHE STRING "librdkafka: system, bundled (pinned in cmake/bundled), or a version for tests")
set_property(CACHE PRESIGND_RDKAFKA PROPERTY STRINGS system bundled)
set(PRESIGND_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(presignd_flags INTERFACE)
target_compile_definitions(presignd_flags INTERFACE _GNU_SOURCE)
target_compile_options(presignd_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  -Wwrite-strings -Wformat=2 -Wvla -Wundef -fno-common -fstack-protector-strong
  $<$<C_COMPILER_ID:Clang>:-Wno-c2x-extensions> # a parameter that is not used has no name
  -UNDEBUG) # asserts stay on in every build type; base/mem.h checks it
if(PRESIGND_WERROR)
  target_compile_options(presignd_flags INTERFACE -Werror)
endif()
if(PRESIGND_COVERAGE)
  # Threads count, too.
  target_compile_options(presignd_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(presignd_flags INTERFACE --coverage)
endif()
if(PRESIGND_SANITIZE)
  target_compile_options(presignd_flags INTERFACE
    -fsanitize=${PRESIGND_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(presignd_flags INTERFACE -fsanitize=${PRESIGND_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
  target_compile_options(presignd_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  target_link_options(presignd_flags INTERFACE -Wl,-z,relro -Wl,-z,now)
endif()
if(PRESIGND_FUZZ) # counts what a target reaches; libFuzzer itself is linked to the targets alone
  target_compile_options(presignd_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
