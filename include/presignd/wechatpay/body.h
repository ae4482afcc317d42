/* JSON bodies of the API, read with bounds. Pure. */
#ifndef PRESIGND_WECHATPAY_BODY_H
#define PRESIGND_WECHATPAY_BODY_H

#include <jansson.h>
#include <stddef.h>

/* Objects and arrays inside one another; the API's own answers stay below ten. */
#define BODY_DEPTH_MAX 64

/* Why a body is no object that can be read. */
enum body_fault {
    BODY_FINE,
    BODY_EMPTY,
    BODY_NESTED, /* deeper than BODY_DEPTH_MAX */
    BODY_NOT_UTF8,
    BODY_TWICE,  /* a member */
    BODY_NUMBER, /* larger than a double, as 1E400 */
    BODY_SYNTAX, /* no JSON; a lone surrogate, too */
    BODY_NO_OBJECT,
    BODY_FAULT_COUNT
};

/* The body as an object (json_decref()), or NULL and a fault (`fault` may be NULL). Numbers are
 * good for skipping only: an integer beyond 64 bits is taken, as a real, so that a member that
 * nobody asked for cannot spoil an answer. */
json_t *body_parse(const char *body, size_t len, enum body_fault *fault)
    __attribute__((warn_unused_result));
/* A string member without NUL and not empty, borrowed; else NULL. */
const char *body_string(const json_t *object, const char *name);

/* AUTO(body_decref_at) json_t *body = … */
void body_decref_at(json_t **body);

#endif
