/* Decodes a Kafka record as a CloudEvents 1.0.2 pre-sign request. Pure.
 *
 * https://github.com/cloudevents/spec, tag v1.0.2: spec.md, formats/json-format.md,
 * bindings/kafka-protocol-binding.md. Structured and binary content mode: decided by the
 * content-type header, else by any ce_ header, else by a `specversion` member.
 */
#ifndef PRESIGND_WIRE_EVENT_H
#define PRESIGND_WIRE_EVENT_H

#include "presignd/base/record.h"
#include "presignd/schema/violation.h"

#include <jansson.h>
#include <stdint.h>

/* Depth of objects and arrays, including the outermost one. */
#define EVENT_NESTING_MAX 64

enum event_status {
    EVENT_OK,
    EVENT_EMPTY,             /* null or empty value */
    EVENT_TOO_LARGE,         /* record_size() over the limit */
    EVENT_INVALID_JSON,      /* not JSON, BOM, duplicate member, not UTF-8, NUL, lone surrogate,
                                integer beyond 64 bits, nested too deep */
    EVENT_INVALID_CLOUDEVENT /* not a CloudEvent, or an attribute is missing or wrong */
};

/* A decoded event. After a failure it has the attributes that are valid, so that the failure record
 * can name the event. It owns its strings; NULL when absent. */
struct event {
    char *id;
    char *source;
    char *type;
    char *mchid;
    char *traceparent;     /* valid by W3C Trace Context, else NULL */
    char *tracestate;      /* likewise; NULL without a traceparent */
    int64_t expirytime_ms; /* since 1970; -1 when absent */
    json_t *data;          /* any JSON value; NULL when absent or not read */
};

/* Checks in this order: empty, size, JSON, attributes. Adds violations of attributes to `errors`
 * (EVENT_INVALID_CLOUDEVENT). `*message` is a static sentence for people that quotes nothing of the
 * event. `event` is all zero on entry; call event_deinit() whatever the status is. Time and memory
 * are linear in the record's size: size and nesting are checked before anything is parsed. */
enum event_status event_decode(const struct record *record, size_t size_max, struct event *event,
                               struct violations *errors, const char **message)
    __attribute__((warn_unused_result));
void event_deinit(struct event *event);

/* The request body of an event's data, an object: compact JSON with the same members, order,
 * integers and characters. The same bytes for the same data. free(). */
char *event_body(const json_t *data, size_t *len) __attribute__((warn_unused_result));

#endif
