# presignd.service and the template presignd@.service: one file, so that both have the same sandbox.
set(UNIT presignd.service)
set(UNIT_RUNTIME presignd)
configure_file(systemd/unit.in ${CMAKE_BINARY_DIR}/systemd/presignd.service @ONLY)

set(UNIT presignd@.service)
set(UNIT_RUNTIME presignd@%i)
set(UNIT_DESCRIPTION ", instance %i")
set(UNIT_ABOUT [[#
# Several instances on one host: `systemctl enable --now presignd@1 presignd@2`. They share
# presignd.conf. Their instance names are presignd-HOST-1, presignd-HOST-2: Kafka needs names that
# are stable over restarts, so host names must be stable and unique. Their admin listeners are
# 127.0.0.1:9471 to 9479. For another address, or an instance name that is not a digit, set
# Environment=ADMIN_LISTEN= in a drop-in of the instance. Their control sockets are
# /run/presignd@1/control.sock and so on: `presignctl pause --control PATH`.
]])
set(UNIT_ENVIRONMENT "Environment=ADMIN_LISTEN=127.0.0.1:947%i\n")
set(UNIT_CONTROL " --set daemon.admin_listen=\${ADMIN_LISTEN} --set daemon.control_socket=/run/presignd@%i/control.sock")
# presignd expands %H, not systemd: it refuses the names that hosts share.
set(UNIT_ARGUMENTS " --set daemon.instance=presignd-%%H-%i${UNIT_CONTROL}")
configure_file(systemd/unit.in ${CMAKE_BINARY_DIR}/systemd/presignd@.service @ONLY)
