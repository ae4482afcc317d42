install(TARGETS presignd RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS presignctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY schemas/ DESTINATION ${CMAKE_INSTALL_DATADIR}/presignd/schemas
        FILES_MATCHING PATTERN "*.json" PATTERN "asyncapi.yaml")

configure_file(systemd/presignd.service.in ${CMAKE_BINARY_DIR}/systemd/presignd.service @ONLY)
set(PRESIGND_UNIT_DIR lib/systemd/system CACHE STRING
    "Where systemd's unit goes, below the prefix when it is relative")
install(FILES ${CMAKE_BINARY_DIR}/systemd/presignd.service DESTINATION ${PRESIGND_UNIT_DIR})

# The operator's file is never overwritten; the sample beside the documents always is new.
install(CODE "
  set(conf \"${CMAKE_INSTALL_FULL_SYSCONFDIR}/presignd\")
  if(NOT EXISTS \"\$ENV{DESTDIR}\${conf}/presignd.conf\")
    file(INSTALL \"${CMAKE_CURRENT_SOURCE_DIR}/conf/presignd.conf\" DESTINATION \"\${conf}\")
  endif()")
install(FILES conf/presignd.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES LICENSE docs/metrics.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES contrib/completion/presignctl contrib/completion/presignd
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES docs/man/presignctl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/man/presignd.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES docs/man/presignd.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
