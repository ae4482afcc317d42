/* The preflight of a start, with the daemon's own users, keys and properties, but as instance
 * INSTANCE-check: the daemon's own id would fence it. It joins no group. What it writes is in
 * transactions that are aborted.
 */
#include "ctl/check/online.h"

#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/producer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    AGAIN_MS = 200,
    STEPS = 4,          /* each takes an answer's time */
    LONGEST_MS = 40000, /* for calls with a longer bound of their own */
};

struct brokers {
    struct online *online;
    struct producer *producer;
    struct preflight found;
    int64_t end_ms; /* mono */
};

static bool owner_pause(void *context, int64_t wait_ms)
{
    const struct brokers *brokers = context;
    if (wait_ms > 0) {
        const struct timespec wait = {.tv_sec = wait_ms / 1000,
                                      .tv_nsec = wait_ms % 1000 * 1000000};
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
    }
    return clock_mono_ms() >= brokers->end_ms;
}

/* Every transaction is aborted. */
static bool owner_may_commit(void *)
{
    return false;
}

static const struct producer_owner owner = {.pause = owner_pause, .may_commit = owner_may_commit};

static void time_renew(struct brokers *brokers)
{
    brokers->end_ms = clock_mono_ms() + brokers->online->timeout_ms;
}

/* --- What a start finds out, too --- */

/* Repeats it while there is no final answer: a coordinator may be loading. */
static void preflight(struct brokers *brokers)
{
    const struct preflight_finding *blocking;
    do {
        producer_preflight(brokers->producer, &brokers->found);
        blocking = preflight_blocking(&brokers->found);
    } while (blocking != NULL && blocking->state == PREFLIGHT_WAITING && !brokers->found.fenced &&
             !owner_pause(brokers, AGAIN_MS));
}

static bool passed(const struct brokers *brokers, enum preflight_check check)
{
    const struct preflight_finding *worst = preflight_worst(&brokers->found, check);
    return worst != NULL && worst->state == PREFLIGHT_PASSED;
}

/* Another check took the transactional.id, so there was no answer about the brokers. */
static bool overtaken(const struct brokers *brokers, const struct preflight_finding *finding)
{
    return brokers->found.fenced && finding->state == PREFLIGHT_WAITING;
}

/* The daemon also starts without a right or an output topic. This command reports them as errors.
 */
static enum severity severity_of(const struct preflight_finding *finding)
{
    bool is_error =
        finding->blocks || finding->check == PREFLIGHT_RIGHTS || finding->check == PREFLIGHT_TOPICS;
    return finding->state == PREFLIGHT_PASSED    ? SEVERITY_OK
           : finding->state == PREFLIGHT_UNKNOWN ? SEVERITY_UNKNOWN
           : is_error                            ? SEVERITY_ERROR
                                                 : SEVERITY_WARNING;
}

static void take_preflight(struct brokers *brokers)
{
    for (size_t i = 0; i < brokers->found.count; i++) {
        const struct preflight_finding *finding = &brokers->found.findings[i];
        const struct preflight_row *row = preflight_row(finding->check);
        bool again = overtaken(brokers, finding);
        enum severity severity = again ? SEVERITY_UNKNOWN : severity_of(finding);
        bool lacks_mend = severity != SEVERITY_OK && finding->mend[0] == '\0';
        online_add(
            brokers->online, row->name, finding->subject, severity, finding->is, row->should,
            row->why,
            again ? "another check --online of this instance ran at the same time: run it again"
            : !lacks_mend                  ? finding->mend
            : severity == SEVERITY_UNKNOWN ? "presignctl topics, run as the operator, tells"
                                           : "look at the brokers' logs, and check again");
    }
}

/* --- What a start does not try --- */

static struct group_metadata *no_member(const struct brokers *brokers)
{
    const struct setup *setup = brokers->online->setup;
    const char *group = "presignd";
    for (size_t i = 0; i < setup->property_count; i++) {
        const struct kafka_property *property = &setup->properties[i];
        group = strcmp(property->name, "group.id") == 0 ? property->value : group;
    }
    return group_metadata_new(rd_kafka_consumer_group_metadata_new(group));
}

static void metadata_bytes(struct brokers *brokers)
{
    struct group_metadata *group_metadata = no_member(brokers);
    time_renew(brokers);
    int64_t bytes = producer_measure_metadata(brokers->producer, group_metadata, 0, 0);
    group_metadata_unref(group_metadata);
    if (bytes == TRANSACTION_METADATA_UNKNOWN) {
        (void)preflight_put(&brokers->found, PREFLIGHT_METADATA_BYTES, "", PREFLIGHT_UNKNOWN, "",
                            "no answer: %s", producer_last_error(brokers->producer));
        return;
    }
    struct preflight_finding *finding =
        preflight_put_metadata(&brokers->found, bytes, WINDOW_METADATA_MAX);
    if (finding != NULL) {
        finding->blocks = bytes == 0;
    }
}

static void write_found(struct brokers *brokers, const char *topic, enum preflight_state state,
                        const char *is)
{
    AUTO_FREE char *subject = mem_printf("Write topic %s", topic);
    AUTO_FREE char *mend =
        mem_printf("kafka-acls.sh --add --operation Write --topic %s, and the user of [kafka] as "
                   "--allow-principal",
                   topic);
    (void)preflight_put(&brokers->found, PREFLIGHT_RIGHTS, subject, state,
                        state == PREFLIGHT_PASSED ? "" : mend, "%s: %s", subject, is);
}

/* The library could not ask the brokers for the right. */
static bool write_unknown(const struct brokers *brokers, const char *name)
{
    AUTO_FREE char *subject = mem_printf("Write topic %s", name);
    const struct preflight_finding *known =
        preflight_find(&brokers->found, PREFLIGHT_RIGHTS, subject);
    return known == NULL || known->state == PREFLIGHT_UNKNOWN;
}

/* A record in a transaction that is aborted. Readers with read_committed never see it. */
static void write_try(struct brokers *brokers, unsigned topic, const char *name)
{
    if (!write_unknown(brokers, name)) {
        return;
    }
    static const char text[] = "presignctl check --online";
    const struct transaction_record record = {
        .topic = topic, .key = text, .key_len = strlen(text), .value = "{}", .value_len = 2};
    enum refusal refusal = REFUSAL_NONE;
    struct group_metadata *group_metadata = no_member(brokers);
    const struct transaction_batch batch = {.group_metadata = group_metadata,
                                            .records = &record,
                                            .record_count = 1,
                                            .refusals = &refusal};
    struct transaction_end end = {0};
    time_renew(brokers);
    bool refused = producer_publish(brokers->producer, &batch, &end);
    group_metadata_unref(group_metadata);
    if (!refused && !owner_pause(brokers, 0)) {
        write_found(brokers, name, PREFLIGHT_PASSED, "a record was accepted and then aborted");
    } else if (refused && refusal == REFUSAL_NO_RIGHT) {
        write_found(brokers, name, PREFLIGHT_MISSING, end.last_error);
    } else {
        write_found(brokers, name, PREFLIGHT_UNKNOWN,
                    refused && end.last_error != NULL ? end.last_error : "no answer in time");
    }
}

/* --- All of it --- */

static void look(struct brokers *brokers)
{
    const struct config *config = brokers->online->setup->config;
    time_renew(brokers);
    preflight(brokers);
    brokers->online->broker_answered = passed(brokers, PREFLIGHT_BROKERS);
    if (passed(brokers, PREFLIGHT_TRANSACTIONS) && passed(brokers, PREFLIGHT_FENCING)) {
        metadata_bytes(brokers);
        if (passed(brokers, PREFLIGHT_TOPICS)) {
            write_try(brokers, 0, config->daemon.results_topic);
            write_try(brokers, 1, config->daemon.failures_topic);
        }
    }
    take_preflight(brokers);
}

static void run(struct online *online)
{
    const struct setup *setup = online->setup;
    const struct config *config = setup->config;
    AUTO_FREE char *instance = mem_printf("%s-check", config->daemon.instance);
    AUTO_FREE char *error = NULL;
    struct brokers brokers = {.online = online};
    const struct producer_config producer = {
        .instance = instance,
        .delivery = setup_delivery(setup),
        .requests_topic = config->daemon.requests_topic,
        .topics = {config->daemon.results_topic, config->daemon.failures_topic},
        .properties = setup->properties,
        .property_count = setup->property_count,
        .metadata_bytes = WINDOW_METADATA_MAX,
    };
    brokers.producer = producer_new(&producer, &owner, &brokers, &error);
    if (brokers.producer == NULL) {
        online_add(online, "brokers", NULL, SEVERITY_ERROR, error, NULL, NULL,
                   "correct the [kafka] properties");
        return;
    }
    look(&brokers);
    brokers.producer = producer_free(brokers.producer);
}

/* --- The thread. If a call of the library does not return, the thread is left behind. --- */

struct task {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    struct online online; /* its own findings */
};

static void *task_run(void *context)
{
    struct task *task = context;
    run(&task->online);
    pthread_mutex_lock(&task->lock);
    task->done = true;
    pthread_cond_signal(&task->ended);
    pthread_mutex_unlock(&task->lock);
    return NULL;
}

/* False when it does not end. */
static bool task_wait(struct task *task, int64_t timeout_ms)
{
    const struct timespec until = clock_mono_after(timeout_ms);
    pthread_mutex_lock(&task->lock);
    while (!task->done &&
           pthread_cond_clockwait(&task->ended, &task->lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    bool done = task->done;
    pthread_mutex_unlock(&task->lock);
    return done;
}

static void findings_move(struct online *from, struct online *to)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct online_finding *finding = &from->findings[i];
        online_add(to, finding->check, finding->subject, finding->severity, finding->is,
                   finding->should, finding->why, finding->mend);
    }
    to->broker_answered = from->broker_answered;
    online_deinit(from);
}

void online_brokers(struct online *online)
{
    struct task *task = mem_zalloc(1, sizeof *task);
    pthread_t thread;
    pthread_mutex_init(&task->lock, NULL);
    pthread_cond_init(&task->ended, NULL);
    task->online = (struct online){.setup = online->setup, .timeout_ms = online->timeout_ms};
    if (pthread_create(&thread, NULL, task_run, task) != 0) {
        task_run(task);
    } else {
        (void)pthread_detach(thread);
    }
    if (task_wait(task, STEPS * online->timeout_ms + LONGEST_MS)) {
        findings_move(&task->online, online);
        free(task);
    } else {
        online->stuck = true;
        online_add(online, "brokers", NULL, SEVERITY_ERROR,
                   "a call to the brokers does not return: a coordinator does not answer", NULL,
                   NULL, "look at the brokers' logs, and try again");
    }
}
