/* The control socket: an operator's levers, as JSON over HTTP/1.1 on a unix socket of mode 0600. It
 * has the limits, and checks what a request holds; src/daemon/levers.c has the levers. */
#ifndef PRESIGND_OPS_CONTROL_H
#define PRESIGND_OPS_CONTROL_H

#include "presignd/base/json.h"
#include "presignd/ops/http_server.h"

#include <stddef.h>
#include <stdint.h>

#define CONTROL_SOCKET_MODE 0600
#define CONTROL_BODY_MAX    4096
/* Bytes of "by", which every POST may have. */
#define CONTROL_BY_MAX 64

enum control_type { CONTROL_TEXT, CONTROL_NUMBER, CONTROL_TRUE, CONTROL_FLAG };

/* A member that a body may have. Of a text, at most `max` bytes without control characters. */
struct control_member {
    const char *name; /* NULL after the last one */
    enum control_type type;
    int64_t min, max;
};

struct control_request {
    const json_t *body; /* an object whose members are checked */
    const char *by;     /* who pulls the lever, as the client says; "": unknown */
    int64_t uid;        /* of the peer; -1: not known */
};

/* What a POST does. Appends one JSON document, returns the HTTP status. */
typedef int control_pull_fn(void *context, const struct control_request *request,
                            struct buf *answer);
struct control_lever {
    const struct control_member *members; /* besides "by" */
    control_pull_fn *pull;
};

/* For a route whose `data` is a struct control_lever: answers a wrong body with 400. An empty body
 * is an empty object. */
int control_answer(void *context, const struct http_request *request, struct buf *answer);
/* Writes {"error": TEXT}, returns `status`. */
int control_error(struct buf *answer, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
