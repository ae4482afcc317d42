install(TARGETS presignd RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS presignctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY schemas/ DESTINATION ${CMAKE_INSTALL_DATADIR}/presignd/schemas
        FILES_MATCHING PATTERN "*.json" PATTERN "asyncapi.yaml")

set(PRESIGND_UNIT_DIR lib/systemd/system CACHE STRING
    "Where systemd's units go, below the prefix when it is relative")
include(cmake/units.cmake)
install(FILES ${CMAKE_BINARY_DIR}/systemd/presignd.service
              ${CMAKE_BINARY_DIR}/systemd/presignd@.service DESTINATION ${PRESIGND_UNIT_DIR})

# Found by journalctl -x once `journalctl --update-catalog` was run.
install(FILES systemd/presignd.catalog systemd/presignd.zh_CN.catalog
        DESTINATION lib/systemd/catalog)

# Without a package: systemd-sysusers, before the service starts.
install(FILES systemd/presignd.sysusers DESTINATION lib/sysusers.d RENAME presignd.conf)

# The operator's file is never overwritten; the sample beside the documents always is new. This file
# stays as it is from version to version: dpkg asks what to do with a changed one that was edited.
install(CODE "
  set(conf \"${CMAKE_INSTALL_FULL_SYSCONFDIR}/presignd\")
  if(NOT EXISTS \"\$ENV{DESTDIR}\${conf}/presignd.conf\")
    file(INSTALL \"${CMAKE_CURRENT_SOURCE_DIR}/conf/presignd.conf\" DESTINATION \"\${conf}\")
    file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${conf}/presignd.conf.d\")
  endif()")
install(FILES conf/sample.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples RENAME presignd.conf)
install(DIRECTORY contrib/prometheus contrib/grafana examples/
        DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES LICENSE CHANGELOG.md docs/metrics.md docs/events.md docs/consumers.md docs/operations.md docs/isolation.md
              docs/delivery.md docs/evidence.md docs/kafka.md docs/limits.md docs/platforms.md docs/security.md docs/systemd.md
              docs/operations.zh-CN.md docs/consumers.zh-CN.md docs/events.zh-CN.md
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
include(cmake/bundled/sbom.cmake)
install(FILES contrib/completion/presignctl contrib/completion/presignd
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES docs/man/presignctl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/man/presignd.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES docs/man/presignd.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
