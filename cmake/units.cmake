# presignd.service and the template presignd@.service: one file, so that they are confined alike.
set(UNIT presignd.service)
set(UNIT_RUNTIME presignd)
configure_file(systemd/unit.in ${CMAKE_BINARY_DIR}/systemd/presignd.service @ONLY)

set(UNIT presignd@.service)
set(UNIT_RUNTIME presignd@%i)
set(UNIT_DESCRIPTION ", instance %i")
set(UNIT_ABOUT [[#
# Several on one host, as `systemctl enable --now presignd@1 presignd@2`. They share presignd.conf;
# each has an instance name of its own, HOST-1, HOST-2, which Kafka knows it by from one start to the
# next: a host keeps its name, and no two hosts have the same. Their admin pages are on
# 127.0.0.1:9471, 127.0.0.1:9472 and so on to 9479; other addresses, and names that are no digit,
# take a drop-in for the instance with another Environment=ADMIN_LISTEN=.
]])
set(UNIT_ENVIRONMENT "Environment=ADMIN_LISTEN=127.0.0.1:947%i\n")
set(UNIT_CONTROL " --set daemon.admin_listen=\${ADMIN_LISTEN}")
set(UNIT_ARGUMENTS " --set daemon.instance=%H-%i${UNIT_CONTROL}")
configure_file(systemd/unit.in ${CMAKE_BINARY_DIR}/systemd/presignd@.service @ONLY)
