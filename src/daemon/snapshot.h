/* Gathers the facts of a running daemon into one struct status. */
#ifndef PRESIGND_DAEMON_SNAPSHOT_H
#define PRESIGND_DAEMON_SNAPSHOT_H

#include "daemon/history.h"
#include "daemon/verified.h"
#include "presignd/base/clock.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/brokers.h"
#include "presignd/kafka/consumer.h"
#include "presignd/kafka/preflight.h"
#include "presignd/ops/reload_status.h"
#include "presignd/ops/status.h"
#include "presignd/setup/setup.h"
#include "presignd/sign/signer.h"
#include "presignd/wechatpay/refresher.h"

/* Where the facts are. They are only read. */
struct snapshot_sources {
    const struct setup *setup;
    const struct pipeline *pipeline;
    const struct consumer *consumer;
    const struct signer *signer;
    const struct batch_verifier *verifier; /* or NULL */
    bool unconfined; /* the private keys' files are not hidden from this process */
    const struct caller *caller;
    const struct refresher *refresher;
    const struct history *history;
    const struct verified *verified;
    const struct reload_status *reload;
    const struct brokers_view *brokers;
    const struct preflight *preflight;  /* what it has found */
    const char *blocking;               /* "preflight: CHECK": keeps us from joining; or NULL */
    const char *unready;                /* why /readyz says no; NULL: it says ready */
    const char *transaction_last_error; /* or NULL */
    int64_t drain_left;                 /* of a drain that has ended, else STATUS_NONE */
    int64_t records;                    /* consumed */
    int64_t clock_offset_ms;            /* report_clock_offset_ms() */
    int64_t log_level_until_ms;         /* wall: when the log level ends; 0: it does not */
    bool state_works;                   /* what is to survive a restart is kept */
};

/* Overwrites `status`. Its texts are borrowed from the sources: use it before they change, then
 * call status_deinit(). */
void snapshot_take(const struct snapshot_sources *sources, struct moment now,
                   struct status *status);

#endif
