#include "daemon/signing.h"

#include "presignd/base/log.h"
#include "presignd/ops/messages.h"

void signing_measure(struct metrics *metrics, const struct signer *signer, enum delivery delivery,
                     bool own_process)
{
    for (enum sign_backend backend = 0; backend < SIGN_BACKEND_COUNT; backend++) {
        for (enum sign_end end = 0; end < SIGN_END_COUNT; end++) {
            const char *const labels[] = {sign_backend_name(backend), sign_end_name(end)};
            metric_count_to(metrics_series(metrics, METRIC_SIGNATURES, labels),
                            (double)signer_count(signer, backend, end));
        }
    }
    const char *const mode[] = {delivery_name(delivery), sign_backend_name(signer_backend(signer)),
                                own_process ? "yes" : "no"};
    metrics_clear(metrics, METRIC_MODE_INFO); /* the backend may have changed */
    metric_set(metrics_series(metrics, METRIC_MODE_INFO, mode), 1);
}

void signing_log(struct signing_log *log, const struct signer *signer)
{
    if (log->mistake_told || signer_mistakes(signer) == 0) {
        return;
    }
    log->mistake_told = true;
    log_fields(LOG_ERR, MESSAGE_SIGN_BACKEND_WRONG, NULL,
               "libcrypto_mb made a wrong signature, which was not sent; OpenSSL signs from now "
               "on. Set daemon.sign_backend = openssl, and replace the library or the host");
}
