/* Queries a running daemon through its admin listener, over TCP or a Unix socket. */
#ifndef PRESIGND_CTL_ADMIN_CLIENT_H
#define PRESIGND_CTL_ADMIN_CLIENT_H

#include "ctl/kit/config.h"
#include "presignd/base/buf.h"

#include <curl/curl.h>
#include <stdint.h>

/* A longer answer is an error: something else may listen there. The daemon's pages are far shorter.
 */
#define ADMIN_ANSWER_MAX ((size_t)16 * 1024 * 1024)

/* Where the daemon's status document is: daemon.admin_listen of the configuration and /status.json,
 * or, where that is empty, daemon.control_socket and its path (free()). Works with a configuration
 * that has other errors, since the daemon may run with an older one. NULL after an error was
 * printed; the command then ends with EX_CONFIG. */
char *admin_client_status(const struct ctl_config *options, const char **path)
    __attribute__((warn_unused_result));

/* GET `path` with the HTTP status in `*status`; appends the answer to `body`. Blocks for at most
 * `timeout_ms`. NULL, or why there was no answer (free()). `listen` as for address_parse(). */
char *admin_client_get(const char *listen, const char *path, int64_t timeout_ms, long *status,
                       struct buf *body) __attribute__((warn_unused_result));
/* The same as a POST with these bytes. */
char *admin_client_post(const char *listen, const char *path, const struct buf *request,
                        int64_t timeout_ms, long *status, struct buf *body)
    __attribute__((warn_unused_result));

/* The same as a handle that the caller performs (curl_easy_cleanup()); `body` must live until then.
 * NULL and an error (free()). */
CURL *admin_client_call(const char *listen, const char *path, int64_t timeout_ms, struct buf *body,
                        char **error) __attribute__((warn_unused_result));

#endif
