#include "presignd/kafka/client.h"

#include "kafka/detached.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/kafka/brokers.h"
#include "presignd/kafka/library.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <syslog.h>

enum {
    LINE_MAX_BYTES = 512,
    /* The library logs each failed attempt to connect. */
    LOG_BURST = 20,
    LOG_PER_S = 1,
};

static void clean_into(char *out, size_t size, const char *text)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), size - 1);
    (void)snprintf(out, size, "%s", clean.data == NULL ? "" : clean.data);
}

void last_error_set(struct last_error *last_error, const char *format, ...)
{
    char raw[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    clean_into(last_error->text, sizeof last_error->text, raw);
    last_error->mono_ms = clock_mono_ms();
}

void last_error_set_error(struct last_error *last_error, const char *doing, rd_kafka_error_t *error)
{
    last_error_set(last_error, "%s: %s (%s)", doing, rd_kafka_error_string(error),
                   rd_kafka_error_name(error));
    rd_kafka_error_destroy(error);
}

void last_error_clear(struct last_error *last_error)
{
    last_error->text[0] = '\0';
}

/* A token bucket for the lines of all clients, and how many lines were dropped. */
static struct {
    pthread_mutex_t lock;
    int64_t filled_us;
    unsigned lines, dropped;
} bucket = {.lock = PTHREAD_MUTEX_INITIALIZER, .lines = LOG_BURST};

/* False: drop the line. `dropped`: lines dropped before this one. */
static bool log_admits(unsigned *dropped)
{
    pthread_mutex_lock(&bucket.lock);
    int64_t now_us = clock_mono_us();
    int64_t more = (now_us - bucket.filled_us) / 1000000 * LOG_PER_S;
    if (more > 0) {
        bucket.filled_us = now_us;
        bucket.lines =
            more >= LOG_BURST - (int64_t)bucket.lines ? LOG_BURST : bucket.lines + (unsigned)more;
    }
    bool admits = bucket.lines > 0;
    *dropped = admits ? bucket.dropped : 0;
    bucket.dropped = admits ? 0 : bucket.dropped + 1;
    bucket.lines -= admits ? 1 : 0;
    pthread_mutex_unlock(&bucket.lock);
    return admits;
}

/* An error that waiting does not repair: a wrong password or certificate. The library logs it like
 * a lost connection, under the facility FAIL. */
static bool is_credentials_error(const char *text)
{
    return strstr(text, "SASL authentication error") != NULL ||
           strstr(text, "SSL handshake failed") != NULL;
}

/* A request that the library repeats within milliseconds: the coordinator has just started, or the
 * markers of the previous transaction are still being written. */
static bool is_repeated(const char *facility, const char *text)
{
    return (strcmp(facility, "GETPID") == 0 && strstr(text, ": retrying") != NULL) ||
           (strcmp(facility, "ADDOFFSETS") == 0 && strstr(text, "concurrent operation") != NULL);
}

/* Lost connections are errors to the library, and normal for us. When they last, a line of our own
 * tells it once (brokers.h). Calls return fatal errors. */
static int log_level(int level, const char *facility, const char *text)
{
    if (strcmp(facility, "CONFWARN") == 0) {
        return LOG_DEBUG; /* mostly a property of the other client, from [kafka] */
    }
    if (strcmp(facility, "REQTMOUT") == 0) {
        return LOG_DEBUG; /* a line with FAIL follows */
    }
    if (strcmp(facility, "FAIL") == 0 || strcmp(facility, "ERROR") == 0) {
        return is_credentials_error(text) ? LOG_WARNING : LOG_INFO;
    }
    /* The session ended: the daemon's own line says what follows. */
    if (is_repeated(facility, text) || strcmp(facility, "SESSTMOUT") == 0) {
        return LOG_INFO;
    }
    return level < LOG_WARNING ? LOG_WARNING : level;
}

/* Only the library's log tells that the group's broker ignores group.instance.id. */
static _Atomic bool static_membership_missing;

bool client_static_membership_missing(void)
{
    return atomic_load(&static_membership_missing);
}

static _Atomic bool refusal_expected;

void client_expect_refusal(bool expected)
{
    atomic_store(&refusal_expected, expected);
}

static _Atomic uint64_t errors[KAFKA_PRODUCER + 1];

void client_error_note(enum kafka_client client)
{
    atomic_fetch_add(&errors[client], 1);
}

uint64_t client_errors(enum kafka_client client)
{
    return atomic_load(&errors[client]);
}

void client_statistics(rd_kafka_conf_t *conf,
                       int (*fn)(rd_kafka_t *client, char *json, size_t len, void *opaque))
{
    char interval[16];
    (void)snprintf(interval, sizeof interval, "%d", BROKERS_INTERVAL_MS);
    (void)rd_kafka_conf_set(conf, "statistics.interval.ms", interval, NULL, 0);
    rd_kafka_conf_set_stats_cb(conf, fn);
}

/* From any of the library's threads. */
static void log_line(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    unsigned dropped = 0;
    int own_level = log_level(level, facility, text);
    if (strcmp(facility, "TXNERR") == 0 && atomic_load(&refusal_expected)) {
        own_level = LOG_DEBUG;
    }
    if (strcmp(facility, "STATICMEMBER") == 0) {
        atomic_store(&static_membership_missing, true);
    }
    if (own_level < LOG_DEBUG && !log_admits(&dropped)) {
        return;
    }
    char clean[LINE_MAX_BYTES];
    clean_into(clean, sizeof clean, text);
    log_text(own_level, "kafka %s: %s: %s",
             client == NULL                               ? "client"
             : rd_kafka_type(client) == RD_KAFKA_CONSUMER ? "consumer"
                                                          : "producer",
             facility, clean);
    if (own_level < LOG_DEBUG && dropped > 0) {
        log_text(own_level, "kafka: %u lines before this one were dropped", dropped);
    }
}

/* The library's threads inherit the timer slack of the thread that creates them. With a slack of a
 * millisecond, a wait that was rounded down ends when its timer is due. Wake-ups by requests and
 * answers do not use it. */
static rd_kafka_t *new_with_slack(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason,
                                  size_t size)
{
    enum { MILLISECOND_NS = 1000000 };
    int own = library_needs(LIBRARY_TIMER_SLACK) ? prctl(PR_GET_TIMERSLACK) : -1;
    if (own >= 0) {
        (void)prctl(PR_SET_TIMERSLACK, MILLISECOND_NS);
    }
    rd_kafka_t *handle = rd_kafka_new(type, conf, reason, size);
    if (own >= 0) {
        int error = errno;
        (void)prctl(PR_SET_TIMERSLACK, own);
        errno = error;
    }
    return handle;
}

/* Takes over `conf`, also on failure. `system`: the cause is not a property. */
static rd_kafka_t *handle_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char **error,
                              bool *system)
{
    char reason[LINE_MAX_BYTES], clean[LINE_MAX_BYTES];
    rd_kafka_t *handle = new_with_slack(type, conf, reason, sizeof reason);
    if (handle == NULL) {
        /* The library waited in vain for its own threads, as the wall clock was set. They still
         * run, and use the configuration. */
        bool threads_live = errno == EDEADLK;
        *system = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
        clean_into(clean, sizeof clean, reason);
        *error = mem_strdup(clean);
        if (!threads_live) {
            rd_kafka_conf_destroy(conf);
        }
    }
    return handle;
}

static void destroy(void *client)
{
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

void client_destroy_detached(rd_kafka_t *client)
{
    if (client != NULL && !detached_start("kafka-end", destroy, client)) {
        destroy(client);
    }
}

/* Shared by the thread and the waiting caller; the last one frees it. */
struct trial {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    rd_kafka_type_t type;
    rd_kafka_conf_t *conf;
    char *error;
    bool done, abandoned;
};

static void trial_drop(struct trial *trial)
{
    pthread_cond_destroy(&trial->ended);
    pthread_mutex_destroy(&trial->lock);
    free(trial->error);
    free(trial);
}

static void trial_run(void *context)
{
    struct trial *trial = context;
    char *error = NULL;
    bool system = false;
    rd_kafka_t *handle = handle_new(trial->type, trial->conf, &error, &system);
    if (handle != NULL) {
        destroy(handle);
    }
    if (system) { /* this says nothing about the properties */
        free(error);
        error = NULL;
    }
    pthread_mutex_lock(&trial->lock);
    trial->error = error;
    trial->done = true;
    bool abandoned = trial->abandoned;
    pthread_cond_signal(&trial->ended);
    pthread_mutex_unlock(&trial->lock);
    if (abandoned) {
        trial_drop(trial);
    }
}

/* Returns the trial's error. When it takes too long, its thread frees the trial. */
static char *trial_wait(struct trial *trial)
{
    const struct timespec until = clock_mono_after(CLIENT_TRY_MS);
    pthread_mutex_lock(&trial->lock);
    while (!trial->done &&
           pthread_cond_clockwait(&trial->ended, &trial->lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    trial->abandoned = !trial->done;
    bool abandoned = trial->abandoned;
    char *error = trial->error;
    trial->error = NULL;
    pthread_mutex_unlock(&trial->lock);
    if (!abandoned) {
        trial_drop(trial);
    }
    return error;
}

char *client_try(enum kafka_client client, const char *instance,
                 const struct kafka_property *properties, size_t count)
{
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(client, instance, properties, count, &error);
    if (conf == NULL) {
        return error;
    }
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", NULL, NULL, 0);
    rd_kafka_conf_set_log_cb(conf, NULL); /* no line about the missing brokers */
    struct trial *trial = mem_zalloc(1, sizeof *trial);
    trial->type = client == KAFKA_CONSUMER ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER;
    trial->conf = conf;
    pthread_mutex_init(&trial->lock, NULL);
    pthread_cond_init(&trial->ended, NULL);
    if (!detached_start("kafka-try", trial_run, trial)) {
        rd_kafka_conf_destroy(conf);
        trial_drop(trial);
        return NULL;
    }
    return trial_wait(trial);
}

rd_kafka_resp_err_t client_commit_error(rd_kafka_event_t *event)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t error = rd_kafka_event_error(event);
    for (int i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && list != NULL && i < list->cnt; i++) {
        error = list->elems[i].err;
    }
    return error;
}

rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, void *opaque, char **error)
{
    AUTO_FREE char *reason = NULL;
    bool system = false;
    rd_kafka_conf_set_opaque(conf, opaque);
    rd_kafka_conf_set_log_cb(conf, log_line);
    rd_kafka_t *client = handle_new(type, conf, &reason, &system);
    if (client == NULL) {
        *error = mem_printf("kafka %s: %s; %s", type == RD_KAFKA_CONSUMER ? "consumer" : "producer",
                            reason,
                            system ? "the system is short of threads, or its clock was set"
                                   : "check the [kafka] properties");
    }
    return client;
}

char *client_property(const rd_kafka_conf_t *conf, const char *name)
{
    size_t size = 0;
    if (rd_kafka_conf_get(conf, name, NULL, &size) != RD_KAFKA_CONF_OK) {
        return NULL;
    }
    char *value = mem_alloc(size);
    if (rd_kafka_conf_get(conf, name, value, &size) != RD_KAFKA_CONF_OK) {
        free(value);
        return NULL;
    }
    return value;
}

rd_kafka_resp_err_t client_topic(rd_kafka_t *client, const char *name, int timeout_ms,
                                 const struct rd_kafka_metadata **metadata)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
    if (topic == NULL) {
        return rd_kafka_last_error();
    }
    rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, topic, metadata, timeout_ms);
    rd_kafka_topic_destroy(topic);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR && (*metadata)->topic_cnt != 1) {
        rd_kafka_metadata_destroy(*metadata);
        error = RD_KAFKA_RESP_ERR_UNKNOWN;
    }
    return error;
}

rd_kafka_resp_err_t client_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                                     int timeout_ms)
{
    rd_kafka_resp_err_t error = rd_kafka_committed(rk, partitions, timeout_ms);
    for (int i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && i < partitions->cnt; i++) {
        error = partitions->elems[i].err;
    }
    return error;
}

rd_kafka_headers_t *client_headers(const struct record_header *headers, size_t count)
{
    rd_kafka_headers_t *list = rd_kafka_headers_new(count);
    for (size_t i = 0; i < count; i++) {
        (void)rd_kafka_header_add(list, headers[i].name, -1, headers[i].value,
                                  (ssize_t)headers[i].value_len);
    }
    return list;
}
