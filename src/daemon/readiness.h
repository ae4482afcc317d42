/* Decides what /readyz, /healthz and the watchdog say. Pure: no clock, no I/O; monitor.h gathers
 * the facts.
 *
 * The measure is outcomes: do events wait while nothing is committed? Events that wait for a known
 * cause (a hold, a pause, a topic that refuses their outcome) do not count here; status and alerts
 * show them.
 */
#ifndef PRESIGND_DAEMON_READINESS_H
#define PRESIGND_DAEMON_READINESS_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long work may wait without a commit before /readyz says no. */
#define READINESS_IDLE_MS INT64_C(60000)
/* How long it may wait without a known cause before the watchdog restarts the process. */
#define READINESS_HANG_MS INT64_C(600000)
/* How long signatures may stay away before the watchdog restarts the process. */
#define READINESS_UNSIGNED_MS INT64_C(60000)
/* How long the transactional.id may be missing before /readyz says no. Acquiring it takes a moment
 * at a start and when its coordinator moves. */
#define READINESS_ID_MS INT64_C(10000)

/* A text that is NULL: no error. */
struct readiness_facts {
    bool stopping;            /* a stop was asked for */
    const char *drain;        /* "draining" or "drained" */
    bool joined;              /* a member of the consumer group */
    const char *preflight;    /* what keeps us from joining it, and what to do */
    bool endpoint_down;       /* no host of the endpoint answers */
    const char *subscription; /* why the requests topic cannot be read */
    const char *metadata;     /* why the broker accepts no offsets with our metadata */
    const char *kafka;        /* the last error of Kafka's clients, or of transactions */
    int64_t id_missing_ms;    /* how long the transactional.id was not held; 0: it is */
    int64_t unsigned_ms; /* how long requests have waited for signatures in vain; 0: they come */
    int64_t idle_ms;     /* how long events have waited without a commit and without a
                            known cause; 0: there are none */
    int64_t stalled_ms;  /* as idle_ms, but calls and attempts that wait for their retry time do
                            not count: their own timers are checked (see `missed`) */
    const char *waiting; /* what they wait for, where known */
    const char *missed;  /* an overdue timer of our own: a bug, or a thread that hangs */
};

/* True while events can be processed; otherwise `why` says why not. */
bool readiness_ready(const struct readiness_facts *facts, struct buf *why);
/* False when the process must be restarted; then `why` says what makes no progress. An absent Kafka
 * is never a reason: a restart repeats calls and brings no broker back. */
bool readiness_alive(const struct readiness_facts *facts, struct buf *why);

/* Since when events without a known cause have waited without a commit. Each commit starts the time
 * again, and so does a sample without such events. */
struct readiness_idle {
    int64_t since_ms; /* mono; -1: nothing waits */
    uint64_t commits; /* at the last sample */
};
#define READINESS_IDLE_INIT ((struct readiness_idle){.since_ms = -1})

/* A sample: `events` wait without a known cause; `commits` transactions were committed since the
 * start. Take samples more often than a held merchant is probed. */
void readiness_sample(struct readiness_idle *idle, size_t events, uint64_t commits, int64_t now_ms);
/* 0: nothing waits. */
int64_t readiness_idle_ms(const struct readiness_idle *idle, int64_t now_ms);

#endif
