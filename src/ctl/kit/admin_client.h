/* Asks a running daemon by its admin listener: over TCP, or a socket in the file system. */
#ifndef PRESIGND_CTL_ADMIN_CLIENT_H
#define PRESIGND_CTL_ADMIN_CLIENT_H

#include "ctl/kit/config.h"
#include "presignd/base/buf.h"

#include <stdint.h>

/* A page of ours is far below it; a stranger may listen there. */
#define ADMIN_ANSWER_MAX ((size_t)16 * 1024 * 1024)

/* Where the daemon of that configuration listens (free()), as daemon.admin_listen has it. Of a
 * configuration that is wrong elsewhere it still tells, since the daemon may work on with an
 * older one. NULL after the reason was told; the command then ends with EX_CONFIG. */
char *admin_client_listen(const struct command *command, const struct ctl_config *options)
    __attribute__((warn_unused_result));

/* GET `path`. `*status` is HTTP's, `body` gets what came. Blocks for at most `timeout_ms`. NULL,
 * or why there was no answer (free()). `listen` as for address_parse(). */
char *admin_client_get(const char *listen, const char *path, int64_t timeout_ms, long *status,
                       struct buf *body) __attribute__((warn_unused_result));

#endif
