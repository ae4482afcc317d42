/* Checks whether the brokers assign a producer id, which an idempotent producer without
 * transactions needs. No call of the library returns this. Its statistics show a producer id; a
 * fatal error says why there is none.
 */
#include "kafka/preflight_parts.h"
#include "presignd/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATISTICS_MS = 50,
    /* For the connection, which may need a token or a ticket, and the answer. */
    WAIT_MS = 10000,
    SLICE_WAIT_MS = 20,
};

struct probe {
    bool assigned, away;
    struct last_error last_error;
};

/* The text ends with a NUL. */
static int on_statistics(rd_kafka_t *, char *json, size_t, void *opaque)
{
    struct probe *probe = opaque;
    probe->assigned = probe->assigned || strstr(json, "\"idemp_state\": \"Assigned\"") != NULL;
    return 0;
}

static void on_error(rd_kafka_t *client, int error, const char *reason, void *opaque)
{
    struct probe *probe = opaque;
    char fatal[256];
    rd_kafka_resp_err_t code = (rd_kafka_resp_err_t)error;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        code = rd_kafka_fatal_error(client, fatal, sizeof fatal);
        reason = fatal;
    }
    probe->away = probe->away || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
    last_error_set(&probe->last_error, "%s (%s)", reason, rd_kafka_err2name(code));
}

static rd_kafka_t *probe_open(const struct producer *producer, struct probe *probe)
{
    AUTO_FREE char *error = NULL;
    char interval[16];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(producer->conf);
    (void)snprintf(interval, sizeof interval, "%d", STATISTICS_MS);
    (void)rd_kafka_conf_set(conf, "statistics.interval.ms", interval, NULL, 0);
    rd_kafka_conf_set_stats_cb(conf, on_statistics);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_t *client = client_new(RD_KAFKA_PRODUCER, conf, probe, &error);
    if (client == NULL) {
        last_error_set(&probe->last_error, "%s", error);
    }
    return client;
}

void look_idempotence(struct look *look)
{
    struct probe probe = {0};
    int64_t begun_us = clock_mono_us();
    rd_kafka_t *client = probe_open(look->producer, &probe);
    bool fatal = false;
    while (client != NULL && !probe.assigned && !fatal && !probe.away &&
           since_ms(begun_us) < WAIT_MS && !producer_stopping(look->producer)) {
        (void)rd_kafka_poll(client, SLICE_WAIT_MS);
        fatal = rd_kafka_fatal_error(client, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (fatal) {
        on_error(client, RD_KAFKA_RESP_ERR__FATAL, "", &probe);
    }
    const char *text = probe.last_error.text[0] != '\0' ? probe.last_error.text : "no answer yet";
    (void)preflight_put(
        look->found, PREFLIGHT_IDEMPOTENCE, "",
        probe.assigned ? PREFLIGHT_PASSED
        : fatal        ? PREFLIGHT_MISSING
                       : PREFLIGHT_WAITING,
        probe.assigned ? "" : "set [kafka.producer] enable.idempotence = false", "%s%s",
        probe.assigned ? "a producer id is assigned" : "no producer id is assigned: ",
        probe.assigned ? "" : text);
    client_destroy_detached(client);
}
