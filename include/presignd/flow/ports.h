/* What the pipeline is connected to: ports to the outside world, an observer, and its rules. */
#ifndef PRESIGND_FLOW_PORTS_H
#define PRESIGND_FLOW_PORTS_H

#include "presignd/base/clock.h"
#include "presignd/flow/admit.h"
#include "presignd/flow/complete.h"
#include "presignd/flow/hold.h"
#include "presignd/flow/job.h"
#include "presignd/flow/retry.h"
#include "presignd/kafka/transaction.h"
#include "presignd/wechatpay/caller.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIPELINE_BYTES_MAX      ((size_t)48 * 1024 * 1024)
#define PIPELINE_PAUSE_AFTER_MS 1000
/* How long one stage of a step may work on what waits, before answers and timers are served
 * again. What is left comes with the next step, at once. */
#define PIPELINE_BUDGET_MS 10
/* How long a revoked assignment waits for calls in flight, so that the next owner need not
 * repeat them. */
#define PIPELINE_REVOKE_GRACE_MS 3000

/* The world, as far as the pipeline touches it. */
struct pipeline_ports {
    void *consumer;
    void (*pause)(void *consumer, int32_t partition);
    void (*resume)(void *consumer, int32_t partition);
    void (*release)(void *consumer);
    void *caller;
    void (*call)(void *caller, const struct attempt *attempt, void *cookie);
    void *publisher;
    void (*submit)(void *publisher, const struct transaction_batch *batch);
    /* As publisher_route(); NULL: never known. */
    int32_t (*route)(void *publisher, enum output_topic topic, const void *key, size_t key_len);
    const struct clock *clock;
    uint64_t (*random)(void *random_context);
    void *random_context;
};

/* Told of what happens, for log and metrics; every member may be NULL. */
struct pipeline_observer {
    void *context;
    /* An attempt ended; job->answer says how. */
    void (*called)(void *context, const struct job *job);
    /* Another attempt will follow; job->retry_ms. */
    void (*retrying)(void *context, const struct job *job, enum reason reason);
    /* The outcome is committed; `job` goes after this. */
    void (*published)(void *context, const struct job *job);
    /* `outcomes`: how many of each topic were in it. */
    void (*transaction)(void *context, const struct transaction_end *end,
                        const size_t outcomes[OUTPUT_TOPIC_COUNT]);
    /* A merchant is held (true; HOLD_WHY_UNAUTHORIZED or HOLD_WHY_UNVERIFIED), or that has ended
     * (false), be it long after the hold's time was over. */
    void (*merchant_held)(void *context, const char *mchid, enum hold_why why, bool held);
    /* An event that a hold kept was ended early; see flow/relief.h. */
    void (*relieved)(void *context, const struct job *job);
    void (*endpoint_down)(void *context, bool down);
    /* A committed position's metadata could not be read. */
    void (*metadata_unreadable)(void *context, int32_t partition);
    /* The log of a partition begins anew below what was committed. */
    void (*log_restarted)(void *context, int32_t partition, int64_t offset);
    /* Its topic refuses this one outcome, even at its smallest: once for each. job->refusal says
     * why; `trouble` may be NULL. */
    void (*outcome_refused)(void *context, const struct job *job, const char *last_error);
    /* A partition of an output topic (-1: the whole topic) takes nothing, or takes outcomes again.
     */
    void (*output_shut)(void *context, enum output_topic topic, int32_t partition,
                        enum refusal refusal, const char *last_error);
    void (*output_open)(void *context, enum output_topic topic, int32_t partition,
                        enum refusal refusal);
};

struct pipeline_limits {
    unsigned in_flight; /* calls in flight, all merchants */
    unsigned host_count;
    int64_t timeout_ms; /* for each attempt */
    int64_t commit_interval_ms;
    int64_t hold_unauthorized_ms;
};

/* What a reload may change; all of it is borrowed and outlives the pipeline or the next
 * pipeline_configure(). */
struct pipeline_rules {
    const struct admit_rules *admit;
    struct retry_policy retry;
    struct pipeline_limits limits;
    const struct complete_identity *identity;
};

#endif
