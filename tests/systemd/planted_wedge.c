/* A daemon in which something hangs, for the watchdog to find. $PRESIGND_WEDGE names what: `loop`,
 * `signer` or `publisher`. It hangs once the file that $PRESIGND_WEDGE_FILE names is there, so that
 * it has worked before; without them nothing does.
 *
 * Linked before the library with --wrap, so that the daemon's own sources know nothing of it. */
#include "presignd/base/log.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/producer.h"
#include "presignd/sign/sign.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): the names that --wrap gives them */
void __real_pipeline_step(struct pipeline *pipeline);
void __wrap_pipeline_step(struct pipeline *pipeline);
bool __real_producer_publish(struct producer *producer, const struct transaction_batch *batch,
                             struct transaction_end *end);
bool __wrap_producer_publish(struct producer *producer, const struct transaction_batch *batch,
                             struct transaction_end *end);

bool __real_sign_with(EVP_PKEY_CTX *context, const void *message, size_t len, struct buf *out);
bool __wrap_sign_with(EVP_PKEY_CTX *context, const void *message, size_t len, struct buf *out);

static void hang_if(const char *what)
{
    const char *name = getenv("PRESIGND_WEDGE"), *file = getenv("PRESIGND_WEDGE_FILE");
    while (name != NULL && file != NULL && strcmp(name, what) == 0 && access(file, F_OK) == 0) {
        pause();
    }
}

void __wrap_pipeline_step(struct pipeline *pipeline)
{
    hang_if("loop");
    __real_pipeline_step(pipeline);
}

bool __wrap_producer_publish(struct producer *producer, const struct transaction_batch *batch,
                             struct transaction_end *end)
{
    hang_if("publisher");
    return __real_producer_publish(producer, batch, end);
}

bool __wrap_sign_with(EVP_PKEY_CTX *context, const void *message, size_t len, struct buf *out)
{
    hang_if("signer");
    return __real_sign_with(context, message, len, out);
}

/* $PRESIGND_LOG_LEVEL, a number as in syslog(3): the daemon itself has no debug level to ask for,
 * and a test wants to see that nothing secret would be in it. */
__attribute__((constructor)) static void take_log_level(void)
{
    const char *level = getenv("PRESIGND_LOG_LEVEL");
    if (level != NULL) {
        log_level_set(level[0] - '0');
    }
}
/* NOLINTEND(bugprone-reserved-identifier) */
