/* How the making of a handle fails. The linker puts a stand-in before rd_kafka_new(), for two of
 * its ends hang on the system alone: no thread to be had, and threads that were not seen to begin
 * before a clock was set. In the second the handle lives on with what the configuration holds, so
 * that destroying the configuration would pull it away under threads that run. The sanitizers
 * watch: what is kept must still be there, what is not kept must be gone.
 */
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    rd_kafka_resp_err_t error;
    int system_error;
} next;
/* A root for LeakSanitizer: what was left to the library is not lost. */
static rd_kafka_conf_t *left;

/* Names that --wrap gives. NOLINTBEGIN(bugprone-reserved-identifier) */
rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason,
                                size_t size);
rd_kafka_resp_err_t __wrap_rd_kafka_last_error(void);

rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason,
                                size_t size)
{
    (void)type;
    left = next.system_error == EDEADLK ? conf : NULL;
    (void)snprintf(reason, size, "the stand-in's reason");
    errno = next.system_error;
    return NULL;
}

rd_kafka_resp_err_t __wrap_rd_kafka_last_error(void)
{
    return next.error;
}
/* NOLINTEND(bugprone-reserved-identifier) */

static const struct kafka_property brokers = {KAFKA_BOTH, "bootstrap.servers", "127.0.0.1:1"};
static int failures;

static void expect(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "%s/%d: not so: %s\n", rd_kafka_err2name(next.error),
                      next.system_error, what);
        failures++;
    }
}

/* Reads it, for whoever still uses it. */
static void expect_kept(void)
{
    if (left != NULL) {
        AUTO_FREE char *value = client_property(left, "client.id");
        expect(value != NULL && strcmp(value, "presignd") == 0, "the configuration is kept");
        rd_kafka_conf_destroy(left);
        left = NULL;
    }
}

static void fails_with(rd_kafka_resp_err_t error, int system_error, bool by_properties)
{
    next.error = error;
    next.system_error = system_error;
    AUTO_FREE char *tried = client_try(KAFKA_CONSUMER, "one", &brokers, 1);
    expect((tried != NULL) == by_properties, "the properties are blamed when they are at fault");
    expect_kept();

    AUTO_FREE char *reason = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(KAFKA_CONSUMER, "one", &brokers, 1, &reason);
    expect(client_new(RD_KAFKA_CONSUMER, conf, NULL, &reason) == NULL, "there is no client");
    expect(strstr(reason, "the stand-in's reason") != NULL, "the reason is told");
    expect((strstr(reason, "[kafka]") != NULL) == by_properties, "and what to do");
    expect_kept();
}

int main(void)
{
    fails_with(RD_KAFKA_RESP_ERR__INVALID_ARG, EINVAL, true);
    fails_with(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, EAGAIN, false);
    fails_with(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, EDEADLK, false);
    return failures == 0 ? 0 : 1;
}
