/* What signs: its metrics, and the log lines when libcrypto_mb has made a mistake. */
#ifndef PRESIGND_DAEMON_SIGNING_H
#define PRESIGND_DAEMON_SIGNING_H

#include "presignd/kafka/delivery.h"
#include "presignd/ops/metrics.h"
#include "presignd/sign/batch_verifier.h"
#include "presignd/sign/signer.h"

#include <stdbool.h>

/* Sets presignd_signatures_total and presignd_mode_info. Call it before they are read. The
 * mistakes of `verifier`, which may be NULL, count as signatures by crypto_mb. */
void signing_measure(struct metrics *metrics, const struct signer *signer,
                     const struct batch_verifier *verifier, enum delivery delivery,
                     bool own_process);

/* All zero at first. */
struct signing_log {
    bool mistake_told, verifier_told;
};
/* Logs a mistake of libcrypto_mb in signing and one in verifying, once each. Call it about once a
 * second. */
void signing_log(struct signing_log *log, const struct signer *signer,
                 const struct batch_verifier *verifier);

#endif
