/* A running preflight; private to its files. */
#ifndef PRESIGND_KAFKA_PREFLIGHT_PARTS_H
#define PRESIGND_KAFKA_PREFLIGHT_PARTS_H

#include "kafka/producer_parts.h"
#include "presignd/kafka/preflight.h"
#include "presignd/kafka/producer.h"

struct look {
    struct producer *producer;
    struct preflight *found;
    rd_kafka_t *reader;           /* a consumer that joins no group */
    struct last_error last_error; /* the reader's */
    char *group, *user;           /* user: NULL when it has no name in the configuration */
    bool requests;                /* the topic of requests is there, as far as its user may see */
    bool slow;                    /* a request of the reader was not answered in time */
    bool away;                    /* the reader cannot connect to any broker */
};

/* preflight_rights.c: the rights to write outcomes, to topics that are there. Takes 2 s at most. */
void look_rights(struct look *look);

/* preflight_idempotence.c. Takes about 10 s at most. */
void look_idempotence(struct look *look);

/* Adds a finding on a right. `option` is kafka-acls.sh's: "--topic", "--group",
 * "--transactional-id". */
void look_right(struct look *look, enum preflight_state state, const char *operation,
                const char *option, const char *name, const char *is);

#endif
