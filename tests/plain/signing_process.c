/* A daemon whose signing process ends at once: that is the system's fault, not the configuration's,
 * so that systemd starts the service again. */
#include "presignd/daemon/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (daemon_is_signing_process(argc, argv)) {
        return EXIT_FAILURE;
    }
    char path[] = "/tmp/presignd-process-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "[daemon]\nsign_process = yes\n";
    if (fd < 0 || write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1 || close(fd) != 0) {
        perror(path);
        return EXIT_FAILURE;
    }
    const struct config_sources sources = {.path = path};
    int status = daemon_run(&sources);
    (void)unlink(path);
    if (status != EX_UNAVAILABLE) {
        fprintf(stderr, "status %d instead of %d\n", status, EX_UNAVAILABLE);
    }
    return status == EX_UNAVAILABLE ? EXIT_SUCCESS : EXIT_FAILURE;
}
