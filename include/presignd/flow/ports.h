/* What the pipeline needs from outside: ports, an observer and rules. */
#ifndef PRESIGND_FLOW_PORTS_H
#define PRESIGND_FLOW_PORTS_H

#include "presignd/base/clock.h"
#include "presignd/flow/admit.h"
#include "presignd/flow/complete.h"
#include "presignd/flow/hold.h"
#include "presignd/flow/job.h"
#include "presignd/flow/pause.h"
#include "presignd/flow/retry.h"
#include "presignd/kafka/transaction.h"
#include "presignd/wechatpay/caller.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory of all unfinished events. */
#define PIPELINE_BYTES_MAX ((size_t)48 * 1024 * 1024)
/* When no record has been wanted for so long, the first one of each partition is read and waits,
 * and its partition is paused. */
#define PIPELINE_PAUSE_AFTER_MS 1000
/* Time budget of one stage of a step. The next step, which follows at once, does the rest. */
#define PIPELINE_BUDGET_MS 10
/* How long a revoked assignment waits for calls in flight, to spare the next owner their
 * repetition. */
#define PIPELINE_REVOKE_GRACE_MS 3000

/* The same code runs in virtual time, with other ports. */
struct pipeline_ports {
    void *consumer;
    void (*pause)(void *consumer, int32_t partition);
    void (*resume)(void *consumer, int32_t partition);
    void (*release)(void *consumer);
    void *caller;
    void (*call)(void *caller, const struct attempt *attempt, void *cookie);
    void *publisher;
    void (*submit)(void *publisher, const struct transaction_batch *batch);
    /* As publisher_route(). NULL: the partition is never known. */
    int32_t (*route)(void *publisher, enum output_topic topic, const void *key, size_t key_len);
    void *keys;
    /* Whether a key of that merchant verifies answers at that time. NULL: always. */
    bool (*has_keys)(void *keys, const struct merchant *merchant, int64_t wall_ms);
    /* An answer named a key that the merchant does not have; or its events wait because it has
     * none, then it is asked in each step. True: its certificates are fetched now or within
     * JOB_KEYS_WAIT_MS, and pipeline_keys_changed() tells the end. NULL: never. */
    bool (*refresh_keys)(void *keys, const struct merchant *merchant);
    const struct clock *clock;
    uint64_t (*random)(void *random_context);
    void *random_context;
};

/* For log and metrics. Every member may be NULL. */
struct pipeline_observer {
    void *context;
    /* An attempt ended; job->answer says how. */
    void (*called)(void *context, const struct job *job);
    /* Another attempt will follow, at job->retry_ms. */
    void (*retrying)(void *context, const struct job *job, enum reason reason);
    /* The outcome is committed. `job` is freed afterwards. */
    void (*published)(void *context, const struct job *job);
    /* A transaction ended. `outcomes`: how many it had, by topic. */
    void (*transaction)(void *context, const struct transaction_end *end,
                        const size_t outcomes[OUTPUT_TOPIC_COUNT]);
    /* A hold of a merchant begins (true), or ends (false; possibly long after events began to
     * fail). `why` is HOLD_WHY_UNAUTHORIZED, HOLD_WHY_UNVERIFIED or HOLD_WHY_KEYLESS. */
    void (*merchant_held)(void *context, const char *mchid, enum hold_why why, bool held);
    /* A pause ended by itself: at its time, or because a reload removed its merchant. */
    void (*pause_ended)(void *context, const struct pause *pause, bool removed);
    /* A held event was failed early; see flow/relief.h. */
    void (*relieved)(void *context, const struct job *job);
    void (*endpoint_down)(void *context, bool down);
    /* The metadata of a committed offset is not valid. */
    void (*metadata_unreadable)(void *context, int32_t partition);
    /* The log of a partition was recreated: it begins below the committed offset. */
    void (*log_restarted)(void *context, int32_t partition, int64_t offset);
    /* Kafka rejects this outcome, also without its original. Called once for each. job->refusal
     * says why; `last_error` may be NULL. */
    void (*outcome_rejected)(void *context, const struct job *job, const char *last_error);
    /* A partition of an output topic (-1: the whole topic) accepts no outcomes, or accepts them
     * again.
     */
    void (*output_unavailable)(void *context, enum output_topic topic, int32_t partition,
                               enum refusal refusal, const char *last_error);
    void (*output_available)(void *context, enum output_topic topic, int32_t partition,
                             enum refusal refusal);
};

struct pipeline_limits {
    unsigned in_flight; /* limit of calls in flight, all merchants */
    unsigned host_count;
    int64_t timeout_ms; /* of an attempt */
    int64_t commit_interval_ms;
    int64_t hold_unauthorized_ms;
    int64_t slo_ms; /* an outcome visible later than this after its record's timestamp is late */
};

/* What a reload may change. Borrowed until pipeline_free() or the next pipeline_configure(). */
struct pipeline_rules {
    const struct admit_rules *admit;
    struct retry_policy retry;
    struct pipeline_limits limits;
    enum delivery delivery; /* a reload does not change it */
    const struct complete_identity *identity;
};

#endif
