# libcurl, the system's or the bundled one: the target presignd_curl, and PRESIGND_CURL_INCLUDE_DIR.
#
# The bundled one is static and can only do what presignd and librdkafka's OIDC ask of it: HTTP/1.1
# with and without TLS, by the system's OpenSSL, through a proxy, or over a Unix socket.
function(presignd_add_bundled_curl)
  presignd_bundled_source(curl source)
  # What curl's own CMakeLists.txt builds. It is a subproject: same compiler, same flags.
  set(BUILD_SHARED_LIBS OFF)
  set(BUILD_STATIC_LIBS ON)
  foreach(part BUILD_CURL_EXE BUILD_EXAMPLES BUILD_LIBCURL_DOCS BUILD_MISC_DOCS BUILD_TESTING
               ENABLE_CURL_MANUAL CURL_ENABLE_EXPORT_TARGET PICKY_COMPILER)
    set(${part} OFF)
  endforeach()
  set(CURL_DISABLE_INSTALL ON)
  set(CMAKE_DISABLE_FIND_PACKAGE_Perl ON) # the documents that need it are not in the archive
  # The libraries that it may use, and the protocols and parts that nothing here needs.
  set(CURL_USE_OPENSSL ON)
  foreach(library CURL_ZLIB CURL_BROTLI CURL_ZSTD USE_NGHTTP2 USE_LIBIDN2 CURL_USE_LIBPSL
                  CURL_USE_LIBSSH2 CURL_USE_PKGCONFIG)
    set(${library} OFF CACHE STRING "of the bundled libcurl" FORCE)
  endforeach()
  set(HTTP_ONLY ON)
  foreach(part ALTSVC AWS COOKIES DIGEST_AUTH DOH FORM_API HSTS KERBEROS_AUTH LIBCURL_OPTION MIME
               NEGOTIATE_AUTH NETRC PROGRESS_METER)
    set(CURL_DISABLE_${part} ON)
  endforeach()
  add_subdirectory(${source} ${CMAKE_BINARY_DIR}/bundled/curl EXCLUDE_FROM_ALL)
  add_library(presignd_curl INTERFACE)
  target_link_libraries(presignd_curl INTERFACE libcurl_static)
  target_include_directories(presignd_curl SYSTEM INTERFACE ${source}/include)
  # A system's librdkafka may load the system's libcurl: it must not find this one's functions.
  target_link_options(presignd_curl INTERFACE -Wl,--exclude-libs,libcurl.a)
  set(PRESIGND_CURL_INCLUDE_DIR ${source}/include PARENT_SCOPE)
endfunction()

if(PRESIGND_CURL STREQUAL "bundled")
  presignd_add_bundled_curl()
else()
  pkg_check_modules(curl REQUIRED IMPORTED_TARGET libcurl>=7.85)
  add_library(presignd_curl INTERFACE)
  target_link_libraries(presignd_curl INTERFACE PkgConfig::curl)
  set(PRESIGND_CURL_INCLUDE_DIR ${curl_INCLUDE_DIRS})
endif()
