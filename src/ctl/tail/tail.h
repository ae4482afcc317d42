/* One outcome as a line, for `presignctl tail`. */
#ifndef PRESIGND_CTL_TAIL_H
#define PRESIGND_CTL_TAIL_H

#include "presignd/base/buf.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>

/* The outcome as it is, on one line. */
void tail_json(const rd_kafka_message_t *message, struct buf *out);
/* Its time of day, kind, endpoint, code and detail. `outcome`: the message's value; NULL: it is no
 * JSON. */
void tail_text(const rd_kafka_message_t *message, const json_t *outcome, struct buf *out);

#endif
