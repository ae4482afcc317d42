/* What is known of the events of one contract: from the topics and from running daemons. Pure.
 *
 * Each event is one JSON object with the members of `presignctl find --json`, in their order.
 */
#ifndef PRESIGND_CTL_FIND_H
#define PRESIGND_CTL_FIND_H

#include "presignd/base/buf.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

/* Events kept; more are counted only. */
#define FOUND_MAX 1000

struct found {
    const char *code;  /* out_contract_code */
    const char *mchid; /* NULL: of all merchants */
    json_t *events;    /* by TOPIC/PARTITION/OFFSET */
    size_t left_out;   /* above FOUND_MAX */
};

void found_init(struct found *found, const char *code, const char *mchid);
void found_deinit(struct found *found);
size_t found_count(const struct found *found);

/* A record of the requests topic. */
void found_take_request(struct found *found, const rd_kafka_message_t *message);
/* A record of the results or the failures topic. */
void found_take_outcome(struct found *found, const rd_kafka_message_t *message);
/* The `events` of a daemon's answer to GET /v1/find. */
void found_take_daemon(struct found *found, const json_t *events);

/* Before found_finish(): something was found, and of each event the outcome or a daemon is known.
 */
bool found_all_known(const struct found *found);
/* Sets each event's `state`. Outcomes decide, a result before a failure (docs/consumers.md); else
 * the daemon that has the event; else it is unread. */
void found_finish(struct found *found);
/* The events, one a line: JSON, or text for people. */
void found_json(const struct found *found, struct buf *out);
void found_text(const struct found *found, struct buf *out);

#endif
