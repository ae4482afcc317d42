/* Asks a running daemon on its control socket. */
#ifndef PRESIGND_CTL_CONTROL_CLIENT_H
#define PRESIGND_CTL_CONTROL_CLIENT_H

#include "ctl/kit/config.h"
#include "presignd/base/json.h"

#include <stdint.h>

/* The row of a command that needs the socket; TYPE has a `const char *control`. */
#define CONTROL_ROW(type)                                      \
    OPTION_ROW_TEXT(type, control, "control", "PATH",          \
                    "the daemon's control socket\n"            \
                    "(default: daemon.control_socket of the\n" \
                    "configuration)")
#define EXIT_ROW_CONTROL                                                                      \
    {                                                                                         \
        EX_UNAVAILABLE, "no daemon answers on the control socket, or there is no right to it" \
    }
#define EXIT_ROW_NO_SOCKET                                             \
    {                                                                  \
        EX_CONFIG, "daemon.control_socket is empty, or cannot be read" \
    }

/* unix:PATH (free()): of --control, or of the configuration, which may have other errors. NULL
 * after an error was printed; the command then ends with EX_CONFIG. */
char *control_client_listen(const struct ctl_config *options, const char *given)
    __attribute__((warn_unused_result));

/* Sends a POST with the members and "by"; takes `request`. NULL: a GET. Returns the HTTP status and
 * a JSON object in `*answer` (json_decref()). Negative, and the error in `*error` (free()): nobody
 * answers, or it is not presignd. Blocks for at most `timeout_ms`. */
int control_client_try(const char *listen, const char *path, json_t *request, int64_t timeout_ms,
                       json_t **answer, char **error) __attribute__((warn_unused_result));

/* The same. COMMAND_GO_ON after an answer below 300, or the command's exit status after its error
 * was printed. */
int control_client_ask(const char *listen, const char *path, json_t *request, json_t **answer)
    __attribute__((warn_unused_result));

#endif
