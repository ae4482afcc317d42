/* How the creation of a client fails. The linker replaces rd_kafka_new(), as two of its errors
 * depend on the system: there is no thread, or a clock was set before its threads had begun. In the
 * second case the client's threads still use the configuration, so it must not be destroyed. The
 * sanitizers find a configuration that is used after its end, or leaked.
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
/* A root for LeakSanitizer: the configuration that the library keeps. */
static rd_kafka_conf_t *left;

/* The names for --wrap. NOLINTBEGIN(bugprone-reserved-identifier) */
rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason,
                                size_t size);
rd_kafka_resp_err_t __wrap_rd_kafka_last_error(void);

rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason,
                                size_t size)
{
    (void)type;
    left = next.system_error == EDEADLK ? conf : NULL;
    (void)snprintf(reason, size, "the library's reason");
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
    expect((tried != NULL) == by_properties,
           "the error names the properties when they are the cause");
    expect_kept();

    AUTO_FREE char *reason = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(KAFKA_CONSUMER, "one", &brokers, 1, &reason);
    expect(client_new(RD_KAFKA_CONSUMER, conf, NULL, &reason) == NULL, "there is no client");
    expect(strstr(reason, "the library's reason") != NULL, "the error has the library's reason");
    expect((strstr(reason, "[kafka]") != NULL) == by_properties, "the error says what to do");
    expect_kept();
}

int main(void)
{
    fails_with(RD_KAFKA_RESP_ERR__INVALID_ARG, EINVAL, true);
    fails_with(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, EAGAIN, false);
    fails_with(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, EDEADLK, false);
    return failures == 0 ? 0 : 1;
}
