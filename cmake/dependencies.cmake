find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(dependencies REQUIRED IMPORTED_TARGET
  rdkafka>=2.0.2
  libcurl>=7.87
  libcrypto>=3.0
  libssl>=3.0
  jansson>=2.14
  libsystemd>=250
  inih
  libpcre2-8
  libmicrohttpd)
add_library(presignd_dependencies INTERFACE)
target_link_libraries(presignd_dependencies INTERFACE PkgConfig::dependencies Threads::Threads m)
