/* Whether the daemon can work, decided from facts. Pure: no clock, no I/O. */
#ifndef PRESIGND_READINESS_H
#define PRESIGND_READINESS_H

#include <stdbool.h>
#include <stdint.h>

struct readiness_facts {
    bool joined;                  /* a member of the consumer group */
    const char *join_waits;       /* what the join waits for; NULL: for the group */
    bool stopping;                /* a stop was asked for */
    bool endpoint_down;           /* no host of the endpoint answers */
    const char *subscription;     /* why the requests topic cannot be read; NULL: it can */
    int64_t transaction_ms;       /* age of the transaction in hand; 0: none */
    int64_t id_missing_ms;        /* since when the transactional.id is not ours; 0: it is */
    int64_t transactions_fail_ms; /* since when transactions fail; 0: they do not */
};

/* Why nothing can be worked on now, borrowed from the facts; NULL: it can. */
const char *readiness_unready(const struct readiness_facts *facts);

#endif
