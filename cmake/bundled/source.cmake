# The sources of bundled libraries: pinned in pins.json, which has one object for each.
#
#   version, license (SPDX), cpe   what the library is: for the SBOM and for looking up CVEs
#   purl, sha256   the registry's package whose archive has the source, and the archive's checksum
#   directory, notice   the source within the archive, and the file of licence texts within the source
#   contains       other libraries in the source, as CycloneDX names components
#   tests_only     true: no package contains it
#
# An archive is fetched once, by the registry's own client, and kept under its checksum in
# PRESIGND_CACHE (environment; default ~/.cache/presignd). A build without a network needs the file
# SHA256.tar.gz there.
set(PRESIGND_PINS ${CMAKE_CURRENT_LIST_DIR}/pins.json)

# Sets OUT to a member of NAME's pin; empty when there is none.
function(presignd_pin NAME MEMBER OUT)
  file(READ ${PRESIGND_PINS} pins)
  string(JSON version ERROR_VARIABLE unknown GET "${pins}" ${NAME} version)
  if(unknown)
    message(FATAL_ERROR "${PRESIGND_PINS} has no ${NAME}: ${unknown}")
  endif()
  string(JSON value ERROR_VARIABLE missing GET "${pins}" ${NAME} ${MEMBER})
  if(missing)
    set(value "")
  endif()
  set(${OUT} "${value}" PARENT_SCOPE)
endfunction()

function(presignd_run_client DIRECTORY)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${DIRECTORY}
                  RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "`${command}` failed (${failed}): ${output}\nIt fetches the source of a "
            "bundled library. Install the client, or put the archive into PRESIGND_CACHE.")
  endif()
endfunction()

# Cargo downloads a crate for a package that depends on it. Nothing is compiled.
function(presignd_fetch_cargo PACKAGE VERSION DIRECTORY OUT)
  string(REGEX REPLACE "[+].*" "" requirement "${VERSION}")
  file(WRITE ${DIRECTORY}/Cargo.toml
       "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n"
       "[lib]\npath = \"lib.rs\"\n[dependencies]\n"
       "${PACKAGE} = { version = \"=${requirement}\", default-features = false }\n")
  file(WRITE ${DIRECTORY}/lib.rs "")
  presignd_run_client(${DIRECTORY} cargo vendor --quiet)
  set(home "$ENV{CARGO_HOME}")
  if(NOT home)
    set(home "$ENV{HOME}/.cargo")
  endif()
  file(GLOB archives "${home}/registry/cache/*/${PACKAGE}-${VERSION}.crate")
  set(${OUT} "${archives}" PARENT_SCOPE)
endfunction()

function(presignd_fetch_npm PACKAGE VERSION DIRECTORY OUT)
  presignd_run_client(${DIRECTORY} npm pack --silent "${PACKAGE}@${VERSION}")
  file(GLOB archives ${DIRECTORY}/*.tgz)
  set(${OUT} "${archives}" PARENT_SCOPE)
endfunction()

# Fetches NAME's archive to the path ARCHIVE, which gets it only if its checksum is right.
function(presignd_fetch NAME ARCHIVE)
  presignd_pin(${NAME} purl purl)
  presignd_pin(${NAME} sha256 sha256)
  if(NOT purl MATCHES "^pkg:(npm|cargo)/([^@]+)@(.+)$")
    message(FATAL_ERROR "${PRESIGND_PINS}: ${NAME} has no purl of npm or cargo: ${purl}")
  endif()
  set(client ${CMAKE_MATCH_1})
  set(version ${CMAKE_MATCH_3})
  string(REPLACE "%40" "@" package "${CMAKE_MATCH_2}")
  message(NOTICE "Fetching the source of ${NAME}: ${purl}")
  set(scratch ${ARCHIVE}.fetch)
  file(REMOVE_RECURSE ${scratch})
  file(MAKE_DIRECTORY ${scratch})
  cmake_language(CALL presignd_fetch_${client} ${package} ${version} ${scratch} fetched)
  foreach(file IN LISTS fetched)
    file(SHA256 ${file} found)
    if(found STREQUAL sha256)
      file(COPY_FILE ${file} ${scratch}/archive)
      file(RENAME ${scratch}/archive ${ARCHIVE})
    endif()
  endforeach()
  file(REMOVE_RECURSE ${scratch})
  if(NOT EXISTS ${ARCHIVE})
    message(FATAL_ERROR "${NAME}: ${purl} was fetched as `${fetched}`, whose SHA-256 is not "
            "${sha256} (it is `${found}`). Compare ${PRESIGND_PINS} with the registry.")
  endif()
endfunction()

# Sets OUT to the path of NAME's archive, which is fetched if the cache does not have it.
function(presignd_bundled_archive NAME OUT)
  set(cache "$ENV{PRESIGND_CACHE}")
  if(NOT cache AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
    set(cache "$ENV{XDG_CACHE_HOME}/presignd")
  elseif(NOT cache)
    set(cache "$ENV{HOME}/.cache/presignd")
  endif()
  cmake_path(ABSOLUTE_PATH cache)
  presignd_pin(${NAME} sha256 sha256)
  set(archive ${cache}/${sha256}.tar.gz)
  file(MAKE_DIRECTORY ${cache})
  if(NOT EXISTS ${archive})
    file(LOCK ${archive}.lock GUARD FUNCTION TIMEOUT 600)
    if(NOT EXISTS ${archive})
      presignd_fetch(${NAME} ${archive})
    endif()
  endif()
  file(SHA256 ${archive} found)
  if(NOT found STREQUAL sha256)
    message(FATAL_ERROR "${archive} is damaged: its SHA-256 is ${found}. Remove it.")
  endif()
  set(${OUT} ${archive} PARENT_SCOPE)
endfunction()

# Sets OUT to a directory below the build directory with NAME's source. Each build has its own
# copy, so that the paths in a binary do not depend on the cache's place. The global property
# PRESIGND_BUNDLED lists what the programs then contain.
function(presignd_bundled_source NAME OUT)
  presignd_pin(${NAME} version version)
  presignd_pin(${NAME} sha256 sha256)
  presignd_pin(${NAME} directory directory)
  set(source ${CMAKE_BINARY_DIR}/bundled/${NAME}-${version}-source)
  set(mark ${source}/.sha256)
  set(unpacked "")
  if(EXISTS ${mark})
    file(READ ${mark} unpacked)
  endif()
  if(NOT unpacked STREQUAL sha256)
    presignd_bundled_archive(${NAME} archive)
    file(REMOVE_RECURSE ${source} ${source}.new)
    file(ARCHIVE_EXTRACT INPUT ${archive} DESTINATION ${source}.new PATTERNS ${directory}/*)
    file(RENAME ${source}.new/${directory} ${source})
    file(REMOVE_RECURSE ${source}.new)
    file(WRITE ${mark} ${sha256})
  endif()
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
               ${PRESIGND_PINS})
  presignd_pin(${NAME} tests_only tests_only)
  if(NOT tests_only)
    set_property(GLOBAL APPEND PROPERTY PRESIGND_BUNDLED ${NAME})
  endif()
  set(${OUT} ${source} PARENT_SCOPE)
endfunction()
