/* What the daemon's state means for those who ask: /readyz, /healthz and the watchdog. Pure: no
 * clock, no I/O. The facts are gathered by monitor.h.
 *
 * Health is told by outcomes: events that wait while nothing is committed. What a hold, a pause or
 * a topic that refuses an outcome keeps waiting is in the status and in alerts, and is no reason
 * to say no here.
 */
#ifndef PRESIGND_READINESS_H
#define PRESIGND_READINESS_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long work may wait without a commit before /readyz says no. */
#define READINESS_IDLE_MS INT64_C(60000)
/* How long it may before the watchdog starts the process anew, when nothing explains it. */
#define READINESS_HANG_MS INT64_C(600000)
/* How long the transactional.id may be missing: a start or a failover takes hold of it anew. */
#define READINESS_ID_MS INT64_C(10000)

/* Texts may be NULL: nothing to say. */
struct readiness_facts {
    bool stopping;            /* a stop was asked for */
    bool joined;              /* a member of the consumer group */
    bool endpoint_down;       /* no host of the endpoint answers */
    const char *subscription; /* why the requests topic cannot be read */
    const char *kafka;        /* what Kafka's clients complain of, or why transactions fail */
    int64_t id_missing_ms;    /* since when the transactional.id is not ours; 0: it is */
    int64_t idle_ms;          /* since when events have waited that nothing named keeps, without a
                                 commit; 0: there are none */
    const char *waiting;      /* what they wait for, as far as known */
    const char *missed; /* a timer of our own that is long over: a bug, or a thread that hangs */
};

/* Whether events can be worked on; else `why` says why not. */
bool readiness_ready(const struct readiness_facts *facts, struct buf *why);
/* Whether the process is worth keeping; else `why` says what stands still. Kafka being away is
 * never a reason: a restart repeats calls, and brings no broker back. */
bool readiness_alive(const struct readiness_facts *facts, struct buf *why);

/* Since when events that should move have waited without a commit. It begins anew with each
 * commit, and whenever nothing waits but what a hold keeps. */
struct readiness_idle {
    int64_t since_ms; /* mono; -1: nothing waits */
    uint64_t commits; /* at the last look */
};
#define READINESS_IDLE_INIT ((struct readiness_idle){.since_ms = -1})

/* A look: how many events should move, how many transactions were ever committed. Often enough to
 * meet the gaps between a held merchant's probes. */
void readiness_look(struct readiness_idle *idle, size_t events, uint64_t commits, int64_t now_ms);
/* 0: nothing waits. */
int64_t readiness_idle_ms(const struct readiness_idle *idle, int64_t now_ms);

#endif
