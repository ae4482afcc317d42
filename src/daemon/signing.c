#include "daemon/signing.h"

#include "presignd/base/log.h"
#include "presignd/ops/messages.h"

static uint64_t count_of(const struct signer *signer, const struct batch_verifier *verifier,
                         enum sign_backend backend, enum sign_end end)
{
    return signer_count(signer, backend, end) +
           (backend == SIGN_BY_CRYPTO_MB ? batch_verifier_count(verifier, end) : 0);
}

void signing_measure(struct metrics *metrics, const struct signer *signer,
                     const struct batch_verifier *verifier, enum delivery delivery,
                     bool own_process)
{
    for (enum sign_backend backend = 0; backend < SIGN_BACKEND_COUNT; backend++) {
        for (enum sign_end end = 0; end < SIGN_END_COUNT; end++) {
            const char *const labels[] = {sign_backend_name(backend), sign_end_name(end)};
            metric_count_to(metrics_series(metrics, METRIC_SIGNATURES, labels),
                            (double)count_of(signer, verifier, backend, end));
        }
    }
    const char *const mode[] = {delivery_name(delivery), sign_backend_name(signer_backend(signer)),
                                own_process ? "yes" : "no"};
    metrics_clear(metrics, METRIC_MODE_INFO); /* the backend may have changed */
    metric_set(metrics_series(metrics, METRIC_MODE_INFO, mode), 1);
}

static void tell(bool *told, bool had_mistake, const char *what)
{
    if (had_mistake && !*told) {
        *told = true;
        log_fields(LOG_ERR, MESSAGE_SIGN_BACKEND_WRONG, NULL,
                   "libcrypto_mb %s from now on. Set daemon.sign_backend = openssl, and replace "
                   "the library or the host",
                   what);
    }
}

void signing_log(struct signing_log *log, const struct signer *signer,
                 const struct batch_verifier *verifier)
{
    tell(&log->mistake_told, signer_mistakes(signer) > 0,
         "made a wrong signature, which was not sent; OpenSSL signs");
    tell(&log->verifier_told, batch_verifier_mistakes(verifier) > 0,
         "took a valid signature of an answer for a wrong one; OpenSSL verifies");
}
