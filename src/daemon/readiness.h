/* What the daemon's state means for those who ask: /readyz, /healthz and the watchdog. Pure: no
 * clock, no I/O. The facts are gathered by monitor.h.
 *
 * Health is told by outcomes: whether events wait while nothing is committed. Events that wait for
 * a named cause (a hold, a pause, a topic that refuses their outcome) do not count here. They are
 * in the status and in alerts.
 */
#ifndef PRESIGND_DAEMON_READINESS_H
#define PRESIGND_DAEMON_READINESS_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long work may wait without a commit before /readyz says no. */
#define READINESS_IDLE_MS INT64_C(60000)
/* How long it may wait before the watchdog restarts the process, when no named cause explains it.
 */
#define READINESS_HANG_MS INT64_C(600000)
/* How long the transactional.id may be missing before /readyz says no. At a start, or when its
 * coordinator moves, it takes a moment to get it. */
#define READINESS_ID_MS INT64_C(10000)

/* Texts may be NULL: nothing to say. */
struct readiness_facts {
    bool stopping;            /* a stop was asked for */
    bool joined;              /* a member of the consumer group */
    bool endpoint_down;       /* no host of the endpoint answers */
    const char *subscription; /* why the requests topic cannot be read */
    const char *metadata;     /* why the broker takes no offsets with a set of ours */
    const char *kafka;        /* what Kafka's clients complain of, or why transactions fail */
    int64_t id_missing_ms;    /* how long the transactional.id has not been ours; 0: it is */
    int64_t idle_ms;          /* how long events have waited without a commit and without a named
                                 cause; 0: there are none */
    int64_t stalled_ms;       /* the same without events that are being called, or wait for another
                                 attempt: these have timers of their own (see `missed`), and may take as
                                 long as [retry] allows */
    const char *waiting;      /* what they wait for, as far as known */
    const char *missed; /* a timer of ours that is long overdue: a bug, or a thread that hangs */
};

/* Whether events can be worked on; else `why` says why not. */
bool readiness_ready(const struct readiness_facts *facts, struct buf *why);
/* False when the process has to be restarted; then `why` says what does not move. An absent Kafka
 * is never a reason: a restart repeats calls and brings no broker back. */
bool readiness_alive(const struct readiness_facts *facts, struct buf *why);

/* Since when events without a named cause have waited without a commit. Each commit starts the
 * time again, and so does a look that finds no such event. */
struct readiness_idle {
    int64_t since_ms; /* mono; -1: nothing waits */
    uint64_t commits; /* at the last look */
};
#define READINESS_IDLE_INIT ((struct readiness_idle){.since_ms = -1})

/* A look: `events` wait without a named cause, and `commits` transactions were ever committed. Call
 * it often, so that some looks fall between two probes of a held merchant. */
void readiness_look(struct readiness_idle *idle, size_t events, uint64_t commits, int64_t now_ms);
/* 0: nothing waits. */
int64_t readiness_idle_ms(const struct readiness_idle *idle, int64_t now_ms);

#endif
