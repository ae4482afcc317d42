/* Outcomes as commands read them. */
#ifndef PRESIGND_CTL_OUTCOME_H
#define PRESIGND_CTL_OUTCOME_H

#include <jansson.h>
#include <librdkafka/rdkafka.h>

/* The record's value as JSON; NULL when it is none. Unlike an event, an outcome may hold U+0000:
 * in its `original`. */
json_t *ctl_outcome_parse(const rd_kafka_message_t *message) __attribute__((warn_unused_result));
/* A member's text; "" when it has none. Borrowed. */
const char *ctl_outcome_text(const json_t *object, const char *name);

#endif
