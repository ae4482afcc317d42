# librdkafka, the system's or the bundled one: the target presignd_rdkafka. PRESIGND_RDKAFKA is
# "system", "bundled", or a version: that of a pin librdkafka-VERSION, for tests and figures.
#
# The bundled one is static, and its symbols are hidden. TLS, SCRAM and OAUTHBEARER use the system's
# OpenSSL, OIDC the libcurl that presignd links. lz4 and snappy are its own, zlib and zstd the
# system's. Kerberos (GSSAPI) is left out: it loads other code beside private keys.
#
# The registry's package lacks what librdkafka's CMakeLists.txt includes, so its configure and make
# build it.
function(presignd_add_bundled_rdkafka)
  include(ExternalProject)
  include(ProcessorCount)
  set(pin librdkafka)
  if(NOT PRESIGND_RDKAFKA STREQUAL "bundled")
    set(pin librdkafka-${PRESIGND_RDKAFKA})
  endif()
  presignd_pin(${pin} version version)
  presignd_bundled_source(${pin} source)
  pkg_check_modules(rdkafka_needs REQUIRED IMPORTED_TARGET libzstd zlib)

  set(headers ${CMAKE_BINARY_DIR}/bundled/rdkafka-include)
  file(COPY ${source}/src/rdkafka.h ${source}/src/rdkafka_mock.h DESTINATION ${headers}/librdkafka)

  # Its own asserts stay on, as ours do. The source's path is in no message and in no debug
  # information, so that two builds are the same. A package's build (None) has all flags of its
  # distribution.
  set(optimise -O2 -g -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  if(CMAKE_BUILD_TYPE STREQUAL "None")
    set(optimise "")
  endif()
  string(JOIN " " cflags ${CMAKE_C_FLAGS} ${optimise} -fPIC -fvisibility=hidden
         -ffile-prefix-map=${source}=librdkafka)
  foreach(directory IN LISTS PRESIGND_CURL_INCLUDE_DIR)
    string(PREPEND cflags "-I${directory} ")
  endforeach()
  string(JOIN " " compiler ${CMAKE_C_COMPILER_LAUNCHER} ${CMAKE_C_COMPILER})
  set(environment "CC=${compiler}" "CFLAGS=${cflags}")
  if(TARGET libcurl_static) # for configure where the system has no libcurl
    list(APPEND environment STATIC_LIB_libcurl=$<TARGET_FILE:libcurl_static>)
    set(after DEPENDS libcurl_static)
  endif()
  ProcessorCount(processors)
  ExternalProject_Add(bundled_rdkafka
    ${after}
    SOURCE_DIR ${source}
    STAMP_DIR ${source}/.stamps # a new source is configured and built again
    BUILD_IN_SOURCE ON
    DOWNLOAD_COMMAND ""
    CONFIGURE_COMMAND ${CMAKE_COMMAND} -E env ${environment}
                      ./configure --no-download --no-cache --enable-ssl --enable-zlib --enable-zstd
                      --enable-curl --disable-gssapi --disable-lz4-ext --disable-syslog
    BUILD_COMMAND make -C src -j${processors} librdkafka.a
    INSTALL_COMMAND ""
    BUILD_BYPRODUCTS ${source}/src/librdkafka.a
    LOG_CONFIGURE ON LOG_BUILD ON LOG_OUTPUT_ON_FAILURE ON LOG_MERGED_STDOUTERR ON)

  add_library(presignd_rdkafka INTERFACE)
  add_dependencies(presignd_rdkafka bundled_rdkafka)
  target_compile_definitions(presignd_rdkafka INTERFACE PRESIGND_RDKAFKA_VERSION="${version}")
  target_include_directories(presignd_rdkafka SYSTEM INTERFACE ${headers})
  target_link_libraries(presignd_rdkafka INTERFACE ${source}/src/librdkafka.a presignd_curl
                        PkgConfig::rdkafka_needs PkgConfig::dependencies ${CMAKE_DL_LIBS})
endfunction()

if(PRESIGND_RDKAFKA STREQUAL "system")
  pkg_check_modules(rdkafka REQUIRED IMPORTED_TARGET rdkafka>=2.0.2)
  add_library(presignd_rdkafka INTERFACE)
  target_link_libraries(presignd_rdkafka INTERFACE PkgConfig::rdkafka)
else()
  presignd_add_bundled_rdkafka()
endif()
