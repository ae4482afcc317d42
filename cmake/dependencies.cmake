find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(dependencies REQUIRED IMPORTED_TARGET
  libcrypto>=3.0
  libssl>=3.0
  jansson>=2.14
  libsystemd>=250
  inih
  libpcre2-8
  libmicrohttpd)
include(cmake/bundled/source.cmake)
include(cmake/bundled/curl.cmake)
include(cmake/bundled/rdkafka.cmake)
add_library(presignd_dependencies INTERFACE)
target_link_libraries(presignd_dependencies INTERFACE
                      presignd_rdkafka PkgConfig::dependencies presignd_curl Threads::Threads ${CMAKE_DL_LIBS} m)
