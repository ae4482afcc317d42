/* A Kafka record read as a CloudEvents 1.0.2 pre-sign request.
 *
 * https://github.com/cloudevents/spec, tag v1.0.2: spec.md, formats/json-format.md,
 * bindings/kafka-protocol-binding.md. Structured and binary content mode; the mode is told
 * by the content-type header, then by any ce_ header, then by a `specversion` member.
 * Pure: the caller gives the clock's reading where one is needed.
 */
#ifndef PRESIGND_WIRE_EVENT_H
#define PRESIGND_WIRE_EVENT_H

#include "presignd/base/record.h"
#include "presignd/schema/violation.h"

#include <jansson.h>
#include <stdint.h>

/* Objects and arrays inside each other, the outermost counted. */
#define EVENT_NESTING_MAX 64

enum event_status {
    EVENT_OK,
    EVENT_EMPTY,             /* null or empty value */
    EVENT_TOO_LARGE,         /* record_size() over the limit */
    EVENT_INVALID_JSON,      /* not JSON, BOM, duplicate member, not UTF-8, NUL, lone surrogate,
                                integer beyond 64 bits, nested too deep */
    EVENT_INVALID_CLOUDEVENT /* an attribute is missing or wrong, or it is no CloudEvent */
};

/* What could be read. On a failure the attributes that could be told are there all the same
 * (and valid each by itself), so that the failure record can name the event. Strings are the
 * event's own; NULL when absent. */
struct event {
    char *id;
    char *source;
    char *type;
    char *mchid;
    char *traceparent;     /* valid by W3C Trace Context, else left out */
    char *tracestate;      /* likewise; never without traceparent */
    int64_t expirytime_ms; /* since 1970; -1 when absent */
    json_t *data;          /* any JSON value; NULL when absent or not reached */
};

/* Reads the record, checks in this order: empty, size, JSON, attributes. `errors` gets what is
 * wrong with attributes (EVENT_INVALID_CLOUDEVENT); `*message` a sentence for people, a
 * static string that quotes nothing of the event. `event` is all zero on entry and must be
 * given to event_deinit() whatever the status is. Time and memory are linear in the record's
 * size; nothing is parsed before the size and the nesting were checked. */
enum event_status event_decode(const struct record *record, size_t size_max, struct event *event,
                               struct violations *errors, const char **message)
    __attribute__((warn_unused_result));
void event_deinit(struct event *event);

/* The request body of an event's data: compact JSON, members in their order, integers and
 * characters unchanged. The same bytes for the same data. To free(). `data` is an object. */
char *event_body(const json_t *data, size_t *len) __attribute__((warn_unused_result));

#endif
