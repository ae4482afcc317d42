# For what PRESIGND_BUNDLED lists: the SBOM (CycloneDX 1.5, JSON) and the licence texts, beside the
# documents. Nothing without bundled libraries: a package's dependencies then name them all.
function(presignd_component NAME OUT)
  foreach(member version license cpe purl sha256)
    presignd_pin(${NAME} ${member} ${member})
  endforeach()
  presignd_pin(${NAME} contains contains)
  set(components "")
  if(contains)
    set(components ",\n      \"components\": ${contains}")
  endif()
  set(${OUT} "{
      \"type\": \"library\",
      \"bom-ref\": \"${NAME}\",
      \"name\": \"${NAME}\",
      \"version\": \"${version}\",
      \"licenses\": [{\"license\": {\"id\": \"${license}\"}}],
      \"cpe\": \"${cpe}\",
      \"purl\": \"pkg:generic/${NAME}@${version}\",
      \"externalReferences\": [{
        \"type\": \"distribution\",
        \"url\": \"${purl}\",
        \"hashes\": [{\"alg\": \"SHA-256\", \"content\": \"${sha256}\"}]
      }]${components}
    }" PARENT_SCOPE)
endfunction()

function(presignd_write_sbom FILE)
  set(components "")
  set(names "")
  foreach(name IN LISTS ARGN)
    presignd_component(${name} component)
    list(APPEND components "${component}")
    list(APPEND names "\"${name}\"")
  endforeach()
  list(JOIN components ", " components)
  list(JOIN names ", " names)
  file(WRITE ${FILE} "{
  \"bomFormat\": \"CycloneDX\",
  \"specVersion\": \"1.5\",
  \"version\": 1,
  \"metadata\": {
    \"component\": {
      \"type\": \"application\",
      \"bom-ref\": \"presignd\",
      \"name\": \"presignd\",
      \"version\": \"${PROJECT_VERSION}\",
      \"licenses\": [{\"license\": {\"id\": \"Apache-2.0\"}}]
    }
  },
  \"components\": [${components}],
  \"dependencies\": [{\"ref\": \"presignd\", \"dependsOn\": [${names}]}]
}
")
endfunction()

get_property(bundled GLOBAL PROPERTY PRESIGND_BUNDLED)
if(bundled)
  presignd_write_sbom(${CMAKE_BINARY_DIR}/bundled/presignd.cdx.json ${bundled})
  install(FILES ${CMAKE_BINARY_DIR}/bundled/presignd.cdx.json DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
foreach(name IN LISTS bundled)
  presignd_pin(${name} version version)
  presignd_pin(${name} notice notice)
  install(FILES ${CMAKE_BINARY_DIR}/bundled/${name}-${version}-source/${notice}
          DESTINATION ${CMAKE_INSTALL_DOCDIR}/bundled RENAME ${name}.txt)
endforeach()
