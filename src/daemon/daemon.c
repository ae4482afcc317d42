#include "presignd/daemon/daemon.h"

#include "daemon/monitor.h"
#include "daemon/report.h"
#include "daemon/snapshot.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/loop.h"
#include "presignd/base/mem.h"
#include "presignd/base/random.h"
#include "presignd/config/read.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/clients.h"
#include "presignd/kafka/topic_check.h"
#include "presignd/ops/admin.h"
#include "presignd/ops/messages.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/notify.h"
#include "presignd/ops/process.h"
#include "presignd/ops/reload_status.h"
#include "presignd/setup/setup.h"
#include "presignd/version.h"
#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/signer.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* What Kafka's clients may take to abort what they have in hand, and to end, when we stop. */
#define CLIENTS_CLOSE_MS INT64_C(7000)
/* What all of the take-down may take, as systemd is told; then the process ends by _exit(2). */
#define TAKE_DOWN_MS INT64_C(10000)

struct daemon {
    const struct config_sources *sources;
    struct setup *setup;
    struct loop *loop;
    struct metrics *metrics;
    struct report *report;
    struct signer *signer;
    struct caller *caller;
    struct clients *clients;
    struct publisher *publisher; /* the clients' */
    struct consumer *consumer;   /* the clients' */
    struct pipeline *pipeline;
    struct admin *admin;
    struct complete_identity identity;
    struct loop_timer step_timer, tick_timer;
    uint64_t random;
    struct topic_check topic_check;
    struct reload_status reload_status;
    int64_t started_ms; /* wall clock */
    struct monitor monitor;
    bool draining; /* a stop was asked for */
    int64_t drain_end_ms;
};

/* --- ports: the pipeline's way to the world --- */

static void port_pause(void *consumer, int32_t partition)
{
    consumer_pause(consumer, partition);
}

static void port_resume(void *consumer, int32_t partition)
{
    consumer_resume(consumer, partition);
}

static void port_release(void *consumer)
{
    consumer_release(consumer);
}

static void port_call(void *caller, const struct attempt *attempt, void *cookie)
{
    caller_start(caller, attempt, cookie);
}

static void port_submit(void *publisher, const struct transaction_batch *batch)
{
    publisher_submit(publisher, batch);
}

static int32_t port_route(void *publisher, enum output_topic topic, const void *key, size_t key_len)
{
    return publisher_route(publisher, topic, key, key_len);
}

static uint64_t port_random(void *context)
{
    return random_next(context);
}

/* --- what comes in: noted, and the next step works on it --- */

/* On the check's thread. */
static void on_finding(const char *topic, const char *name, const char *value, const char *should,
                       const char *why, const char *mend)
{
    const struct log_field fields[] = {
        {"TOPIC", topic}, {"SETTING", name}, {"VALUE", value}, {NULL, NULL}};
    if (value == NULL) {
        log_fields(LOG_WARNING, MESSAGE_TOPIC_SETTING, fields,
                   "there is no topic %s: presignctl topics --create", topic);
    } else {
        log_fields(LOG_WARNING, MESSAGE_TOPIC_SETTING, fields,
                   "topic %s: %s is %s, should be %s: %s; to change it: %s", topic, name, value,
                   should, why, mend);
    }
}

/* Once brokers have answered, so with the first assignment; again with a later one, where no answer
 * came. */
static void check_topics(struct daemon *d)
{
    const struct config *config = d->setup->config;
    const char *const names[TOPIC_ROLES] = {[TOPIC_REQUESTS] = config->daemon.requests_topic,
                                            [TOPIC_RESULTS] = config->daemon.results_topic,
                                            [TOPIC_FAILURES] = config->daemon.failures_topic};
    AUTO_FREE char *error = NULL;
    rd_kafka_conf_t *conf =
        kafka_properties_apply(KAFKA_CONSUMER, config->daemon.instance, d->setup->properties,
                               d->setup->property_count, &error);
    if (conf != NULL) {
        topic_check_start(&d->topic_check, conf, names, config->daemon.max_event_bytes, on_finding);
    }
}

static void on_assigned(void *context, struct group_metadata *group_metadata,
                        const int32_t *partitions, size_t count)
{
    struct daemon *d = context;
    d->identity.cluster_id = consumer_cluster_id(d->consumer);
    d->identity.group_id = consumer_group_id(d->consumer);
    metric_add(metrics_series(d->metrics, METRIC_REBALANCES, (const char *[]){"assigned"}), 1);
    log_fields(LOG_NOTICE, MESSAGE_ASSIGNED, NULL, "%zu partitions assigned", count);
    loop_timer_set(&d->tick_timer, 0); /* ready: whoever waits for it hears it at once */
    report_assigned(d->report);
    pipeline_assigned(d->pipeline, group_metadata, partitions, count);
    check_topics(d);
}

static void on_positions(void *context, const struct consumer_position *positions, size_t count)
{
    struct daemon *d = context;
    pipeline_positions(d->pipeline, positions, count);
}

static void on_revoking(void *context)
{
    struct daemon *d = context;
    metric_add(metrics_series(d->metrics, METRIC_REBALANCES, (const char *[]){"revoked"}), 1);
    log_fields(LOG_NOTICE, MESSAGE_REVOKED, NULL, "the group takes the partitions back");
    pipeline_revoking(d->pipeline);
}

static void on_lost(void *context)
{
    struct daemon *d = context;
    metric_add(metrics_series(d->metrics, METRIC_REBALANCES, (const char *[]){"lost"}), 1);
    log_fields(LOG_WARNING, MESSAGE_REVOKED, NULL,
               "the partitions are another's, or given again; what was in hand is dropped");
    pipeline_lost(d->pipeline);
}

static bool on_record(void *context, const struct record *record)
{
    struct daemon *d = context;
    metric_add(metrics_series(d->metrics, METRIC_RECORDS, NULL), 1);
    return pipeline_record(d->pipeline, record);
}

static void on_metadata(void *context, size_t bytes)
{
    struct daemon *d = context;
    pipeline_limit_metadata(d->pipeline, bytes);
    if (bytes == 0) {
        log_fields(LOG_ERR, MESSAGE_METADATA_SMALL, NULL, "nothing is consumed: %s",
                   clients_metadata_last_error(d->clients));
    } else if (bytes < WINDOW_METADATA_MAX) {
        log_fields(
            LOG_WARNING, MESSAGE_METADATA_SMALL, NULL,
            "the broker takes less offset metadata than a full window needs: a partition has "
            "at most %" PRId64 " offsets in hand instead of %d (raise "
            "offset.metadata.max.bytes to %d)",
            window_span_of(bytes), WINDOW_SPAN, WINDOW_METADATA_MAX);
    }
}

static void on_renewed(void *context, enum clients_renewal why, const char *text)
{
    struct daemon *d = context;
    const char *name = clients_renewal_name(why);
    const struct log_field fields[] = {{"WHY", name}, {NULL, NULL}};
    metric_add(metrics_series(d->metrics, METRIC_CLIENT_RENEWALS, (const char *[]){name}), 1);
    log_fields(LOG_WARNING, MESSAGE_CLIENTS_RENEWED, fields,
               "the Kafka clients are made anew (%s): %s", name, text);
}

static void on_failed(void *context, enum clients_failure failure, const char *text)
{
    struct daemon *d = context;
    const char *instance = d->setup->config->daemon.instance;
    const struct log_field fields[] = {{"INSTANCE", instance}, {NULL, NULL}};
    if (failure == CLIENTS_NAMESAKE) {
        log_fields(LOG_ERR, MESSAGE_FENCED, fields,
                   "instance %s is fenced: another process has its name (give each its own "
                   "daemon.instance): %s",
                   instance, text);
        loop_stop(d->loop, EX_TEMPFAIL);
        return;
    }
    log_fields(LOG_ERR, MESSAGE_CLIENT_ENDED, fields,
               "making the Kafka consumer anew does not help any more: %s", text);
    loop_stop(d->loop, EX_UNAVAILABLE);
}

static void on_answered(void *context, void *cookie, struct answer *answer)
{
    struct daemon *d = context;
    pipeline_answered(d->pipeline, cookie, answer);
}

static void on_batch_ended(void *context, const struct transaction_end *end)
{
    struct daemon *d = context;
    pipeline_batch_ended(d->pipeline, end);
}

/* --- the step --- */

static void on_step_timer(void *context)
{
    (void)context; /* the step follows every round of the loop */
}

static void step(void *context)
{
    struct daemon *d = context;
    bool more = clients_poll(d->clients, pipeline_wants(d->pipeline));
    pipeline_step(d->pipeline);
    if (more && pipeline_wants(d->pipeline) > 0) {
        loop_again(d->loop);
    }
    int64_t next_ms = pipeline_next_ms(d->pipeline);
    if (next_ms == INT64_MAX) {
        loop_timer_stop(&d->step_timer);
    } else {
        loop_timer_set(&d->step_timer, next_ms);
    }
    if (d->draining && pipeline_idle(d->pipeline)) {
        loop_stop(d->loop, EX_OK);
    }
}

/* --- admin pages --- */

static struct monitor_sources monitored(const struct daemon *d)
{
    return (struct monitor_sources){
        .pipeline = d->pipeline,
        .consumer = d->consumer,
        .publisher = d->publisher,
        .clients_waiting = clients_waiting(d->clients),
        .metadata = clients_metadata_last_error(d->clients),
        .report = d->report,
        .stopping = d->draining,
        .drain_end_ms = d->drain_end_ms,
        .take_down_ms = TAKE_DOWN_MS,
    };
}

/* `why` is written, and borrowed by `status`. */
static void take_status(struct daemon *d, struct buf *why, struct status *status)
{
    struct monitor_sources from = monitored(d);
    bool ready = monitor_ready(&d->monitor, &from, why);
    struct snapshot_sources sources = {
        .setup = d->setup,
        .pipeline = d->pipeline,
        .consumer = d->consumer,
        .signer = d->signer,
        .caller = d->caller,
        .history = report_history(d->report),
        .unready = ready ? NULL : why->data,
        .transaction_last_error = report_last_error(d->report),
        .records = (int64_t)metric_value(metrics_series(d->metrics, METRIC_RECORDS, NULL)),
    };
    snapshot_take(&sources, clock_now(&clock_system), status);
}

static int page_metrics(void *context, struct buf *body)
{
    struct daemon *d = context;
    struct pipeline_status pipeline;
    struct status status;
    AUTO_BUF struct buf why = {0};
    pipeline_status(d->pipeline, &pipeline);
    take_status(d, &why, &status);
    report_gauges(d->report, &pipeline, &status);
    status_deinit(&status);
    metrics_write(d->metrics, body);
    return 200;
}

static int page_status(void *context, struct buf *body)
{
    struct status status;
    AUTO_BUF struct buf why = {0};
    take_status(context, &why, &status);
    status_html(&status, body);
    status_deinit(&status);
    return 200;
}

static int page_status_json(void *context, struct buf *body)
{
    struct status status;
    AUTO_BUF struct buf why = {0};
    take_status(context, &why, &status);
    status_json(&status, body);
    status_deinit(&status);
    return 200;
}

static int page_health(void *context, struct buf *body)
{
    struct daemon *d = context;
    struct monitor_sources from = monitored(d);
    bool well = monitor_alive(&d->monitor, &from, body);
    buf_puts(body, well ? "ok\n" : "\n");
    return well ? 200 : 503;
}

static int page_ready(void *context, struct buf *body)
{
    struct daemon *d = context;
    struct monitor_sources from = monitored(d);
    bool ready = monitor_ready(&d->monitor, &from, body);
    buf_puts(body, ready ? "ready\n" : "\n");
    return ready ? 200 : 503;
}

static int page_reload(void *context, struct buf *body)
{
    const struct daemon *d = context;
    reload_status_json(&d->reload_status, d->started_ms, body);
    return 200;
}

static const struct admin_page pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics},
    {"/healthz", "text/plain; charset=utf-8", page_health},
    {"/readyz", "text/plain; charset=utf-8", page_ready},
    {"/status", "text/html; charset=utf-8", page_status},
    {"/status.json", "application/json", page_status_json},
    {"/reload.json", "application/json", page_reload},
};

static bool complain(char *error, const char *what)
{
    log_error("%s: %s", what, error);
    free(error);
    return false;
}

static bool build_admin(struct daemon *d)
{
    const char *listen = d->setup->config->daemon.admin_listen;
    char *error = NULL;
    if (listen == NULL || listen[0] == '\0') {
        return true;
    }
    d->admin = admin_new(d->loop, listen, pages, ARRAY_LENGTH(pages), d, &error);
    return d->admin != NULL || complain(error, "daemon");
}

/* --- signals --- */

static void drain(struct daemon *d)
{
    if (d->draining) {
        log_notice("asked to stop again: stopping at once, what is in flight comes back later");
        loop_stop(d->loop, EX_OK);
        return;
    }
    int64_t timeout_ms = d->setup->config->daemon.drain_timeout_ms;
    d->draining = true;
    d->drain_end_ms = clock_now(&clock_system).mono_ms + timeout_ms;
    notify_stopping();
    notify_extend_timeout(timeout_ms + TAKE_DOWN_MS);
    log_fields(LOG_NOTICE, MESSAGE_STOPPING, NULL,
               "stopping: calls in flight have %" PRId64 " ms to end", timeout_ms);
    pipeline_drain(d->pipeline);
}

/* A line of the log for each line of the text (NULL: none), which is taken to pieces. */
static void log_lines(int level, const char *message_id, char *text)
{
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (*line != '\0') {
            log_fields(level, message_id, NULL, "%s", line);
        }
    }
}

/* A listener for the new address. The old one may be what stands in its way: then it is closed,
 * and opened again by reload() if that does not help. */
static bool move_admin(struct daemon *d, const char *listen, struct admin **admin, char **error)
{
    *admin = admin_new(d->loop, listen, pages, ARRAY_LENGTH(pages), d, error);
    if (*admin != NULL || d->admin == NULL) {
        return *admin != NULL;
    }
    free(*error);
    *error = NULL;
    d->admin = admin_free(d->admin);
    *admin = admin_new(d->loop, listen, pages, ARRAY_LENGTH(pages), d, error);
    return *admin != NULL;
}

/* Names each key whose change has to wait for a restart. */
static bool needs_restart(const struct daemon *d, const struct setup *fresh, struct buf *problems)
{
    AUTO_BUF struct buf keys = {0};
    bool needed = config_needs_restart(d->setup->config, fresh->config, &keys);
    char *rest = keys.data;
    for (char *key; (key = strsep(&rest, "\n")) != NULL;) {
        if (*key != '\0') {
            buf_printf(problems, "%s: a change of it needs a restart\n", key);
        }
    }
    return needed;
}

/* Makes what may fail, before anything is changed. `*admin` is NULL when the present listener
 * stays. */
static bool prepare_reload(struct daemon *d, const struct setup *fresh, struct admin **admin,
                           struct buf *problems)
{
    const char *old = d->setup->config->daemon.admin_listen;
    const char *new = fresh->config->daemon.admin_listen;
    AUTO_FREE char *error = NULL;
    if (needs_restart(d, fresh, problems)) {
        return false;
    }
    if (strcmp(old, new) != 0 && new[0] != '\0' && !move_admin(d, new, admin, &error)) {
        buf_printf(problems, "daemon.admin_listen: %s", error);
        return false;
    }
    if (!caller_configure(d->caller, &fresh->caller, &error)) {
        buf_printf(problems, "endpoint: %s", error);
        return false;
    }
    return true;
}

/* From here on nothing can fail. */
static void apply_reload(struct daemon *d, struct setup *fresh, struct admin *admin)
{
    struct setup *old = d->setup;
    if (strcmp(old->config->daemon.admin_listen, fresh->config->daemon.admin_listen) != 0) {
        admin_free(d->admin);
        d->admin = admin;
    }
    d->setup = fresh;
    d->identity.failure_original = fresh->config->daemon.failure_original;
    struct pipeline_rules rules = setup_rules(fresh, &d->identity);
    pipeline_configure(d->pipeline, &rules);
    if (!signer_resize(d->signer, (unsigned)fresh->config->daemon.sign_threads)) {
        log_warning("fewer signing threads than configured: the system gives no more");
    }
    report_merchants(d->report, fresh->merchants);
    setup_free(old);
}

/* What became of it, for `presignctl reload`, metrics and pages. NULL: it was applied. */
static void note_reload(struct daemon *d, const char *problems)
{
    reload_status_set(&d->reload_status, problems, clock_now(&clock_system).wall_ms);
    report_reload(d->report, problems == NULL, problems);
}

static bool try_reload(struct daemon *d)
{
    AUTO_BUF struct buf problems = {0};
    struct admin *admin = NULL;
    struct setup *fresh = setup_load(d->sources, &problems);
    if (fresh == NULL || !prepare_reload(d, fresh, &admin, &problems)) {
        admin_free(admin);
        setup_free(fresh);
        note_reload(d, problems.data);
        log_lines(LOG_ERR, MESSAGE_RELOAD_REFUSED, problems.data);
        log_fields(LOG_ERR, MESSAGE_RELOAD_REFUSED, NULL,
                   "the new configuration is refused, the old one stays in use");
        return false;
    }
    log_lines(LOG_WARNING, MESSAGE_CONFIGURATION_WRONG, fresh->warnings.data);
    process_raise_descriptors(setup_descriptors(fresh));
    apply_reload(d, fresh, admin);
    note_reload(d, NULL);
    return true;
}

static void reload(struct daemon *d)
{
    if (d->draining) {
        note_reload(d, "presignd is stopping");
        return;
    }
    notify_reloading();
    bool applied = try_reload(d);
    if (d->admin == NULL && !build_admin(d)) {
        log_warning("the admin listener is closed until the next reload or restart");
    }
    if (applied) {
        log_fields(LOG_NOTICE, MESSAGE_RELOADED, NULL, "the new configuration is in use");
    }
    notify_ready();
}

static void on_signal(void *context, int signal_number)
{
    struct daemon *d = context;
    if (signal_number == SIGHUP) {
        reload(d);
    } else {
        drain(d);
    }
}

/* --- the tick --- */

static void on_tick(void *context)
{
    struct daemon *d = context;
    struct moment now = clock_now(&clock_system);
    struct monitor_sources from = monitored(d);
    monitor_tick(&d->monitor, &from, now.mono_ms);
    report_tick(d->report, now.mono_ms);
    if (d->draining && now.mono_ms >= d->drain_end_ms) {
        struct pipeline_status status;
        pipeline_status(d->pipeline, &status);
        log_fields(LOG_WARNING, MESSAGE_LEFT_BEHIND, NULL,
                   "stopping with %zu calls in flight: their events come back later",
                   status.in_flight);
        loop_stop(d->loop, EX_OK);
    }
    loop_timer_set(&d->tick_timer, now.mono_ms + MONITOR_TICK_MS);
}

/* --- life --- */

/* Before the configuration is read, so that a signal which comes meanwhile waits. */
static bool build_loop(struct daemon *d)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    signal(SIGPIPE, SIG_IGN);
    d->loop = loop_new();
    if (d->loop == NULL || loop_signals(d->loop, signals, on_signal, d) != 0) {
        log_error("no event loop: %s", strerror(errno));
        return false;
    }
    return true;
}

static void build_base(struct daemon *d)
{
    if (getrandom(&d->random, sizeof d->random, 0) != sizeof d->random) {
        d->random = (uint64_t)clock_mono_us();
    }
    monitor_init(&d->monitor, notify_watchdog_ms(), clock_now(&clock_system).mono_ms);
    d->metrics = metrics_new();
    d->report = report_new(d->metrics);
    report_merchants(d->report, d->setup->merchants);
}

static bool build_remote(struct daemon *d)
{
    char *error = NULL;
    d->signer = signer_new(d->loop, (unsigned)d->setup->config->daemon.sign_threads);
    if (d->signer == NULL) {
        log_error("no signing threads: %s", strerror(errno));
        return false;
    }
    d->caller =
        caller_new(d->loop, &clock_system, d->signer, &d->setup->caller, on_answered, d, &error);
    return d->caller != NULL || complain(error, "endpoint");
}

static bool build_clients(struct daemon *d)
{
    static const struct clients_events events = {
        .consumer = {.assigned = on_assigned,
                     .positions = on_positions,
                     .revoking = on_revoking,
                     .lost = on_lost,
                     .record = on_record},
        .ended = on_batch_ended,
        .metadata = on_metadata,
        .renewed = on_renewed,
        .failed = on_failed,
    };
    const struct config *config = d->setup->config;
    char *error = NULL;
    struct producer_config publisher = {
        .instance = config->daemon.instance,
        .requests_topic = config->daemon.requests_topic,
        .topics = {[OUTPUT_RESULTS] = config->daemon.results_topic,
                   [OUTPUT_FAILURES] = config->daemon.failures_topic},
        .properties = d->setup->properties,
        .property_count = d->setup->property_count,
        .metadata_bytes = WINDOW_METADATA_MAX,
    };
    d->clients = clients_new(d->loop, &clock_system, &publisher, &events, d, &error);
    if (d->clients == NULL) {
        return complain(error, "kafka");
    }
    d->consumer = clients_consumer(d->clients);
    d->publisher = clients_publisher(d->clients);
    return true;
}

static void build_pipeline(struct daemon *d)
{
    d->identity.failure_original = d->setup->config->daemon.failure_original;
    struct pipeline_ports ports = {
        .consumer = d->consumer,
        .pause = port_pause,
        .resume = port_resume,
        .release = port_release,
        .caller = d->caller,
        .call = port_call,
        .publisher = d->publisher,
        .submit = port_submit,
        .route = port_route,
        .clock = &clock_system,
        .random = port_random,
        .random_context = &d->random,
    };
    struct pipeline_observer observer = report_observer(d->report);
    struct pipeline_rules rules = setup_rules(d->setup, &d->identity);
    d->pipeline = pipeline_new(&ports, &observer, &rules);
    pipeline_limit_metadata(d->pipeline,
                            TRANSACTION_METADATA_MIN); /* until more is known to be taken */
}

/* In the data's order; what was built before a failure is taken down by the caller. The broker
 * comes last of what can fail: a second process, started by mistake, that finds the admin
 * address taken has then not fenced the first. */
static bool build(struct daemon *d)
{
    build_base(d);
    if (!build_admin(d) || !build_remote(d) || !build_clients(d)) {
        return false;
    }
    build_pipeline(d);
    loop_timer_init(&d->step_timer, d->loop, on_step_timer, d);
    loop_timer_init(&d->tick_timer, d->loop, on_tick, d);
    loop_timer_set(&d->tick_timer, clock_now(&clock_system).mono_ms);
    loop_step_set(d->loop, step, d);
    return true;
}

/* What goes on for longer than the take-down may last is left to the kernel. */
static void *take_down_guard(void *status)
{
    struct timespec left = {.tv_sec = TAKE_DOWN_MS / 1000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL);
    log_warning("the take-down lasts for longer than %" PRId64 " ms: ending at once", TAKE_DOWN_MS);
    _exit(*(const int *)status);
}

/* False when threads of Kafka's library go on. `status` is the process's, and outlives it. */
static bool take_down(struct daemon *d, int *status)
{
    pthread_t guard;
    if (pthread_create(&guard, NULL, take_down_guard, status) == 0) {
        (void)pthread_detach(guard);
    }
    admin_free(d->admin);
    caller_free(d->caller);
    topic_check_stop(&d->topic_check);
    bool clients_ended = clients_free(d->clients, CLIENTS_CLOSE_MS);
    pipeline_free(d->pipeline);
    signer_free(d->signer);
    report_free(d->report);
    metrics_free(d->metrics);
    loop_free(d->loop);
    reload_status_deinit(&d->reload_status);
    setup_free(d->setup);
    return clients_ended;
}

static struct setup *load(const struct config_sources *sources)
{
    AUTO_BUF struct buf problems = {0};
    struct setup *setup = setup_load(sources, &problems);
    if (setup == NULL) {
        log_lines(LOG_ERR, MESSAGE_CONFIGURATION_WRONG, problems.data);
    } else {
        log_lines(LOG_WARNING, MESSAGE_CONFIGURATION_WRONG, setup->warnings.data);
        process_raise_descriptors(setup_descriptors(setup));
    }
    return setup;
}

int daemon_run(const struct config_sources *sources)
{
    struct moment now = clock_now(&clock_system);
    struct daemon d = {.sources = sources, .started_ms = now.wall_ms};
    bool has_loop = build_loop(&d);
    d.setup = has_loop ? load(sources) : NULL;
    if (d.setup == NULL) {
        loop_free(d.loop);
        return has_loop ? EX_CONFIG : EX_UNAVAILABLE;
    }
    log_fields(LOG_NOTICE, MESSAGE_STARTED, NULL, "presignd %s starts as instance %s",
               PRESIGND_VERSION, d.setup->config->daemon.instance);
    /* The configuration is right by now: what fails is the system's, and may pass. */
    static int status; /* the guard's, too */
    status = build(&d) ? loop_run(d.loop) : EX_UNAVAILABLE;
    bool ended = take_down(&d, &status);
    log_fields(LOG_NOTICE, MESSAGE_STOPPED, NULL, "stopped with status %d", status);
    if (!ended) {
        log_warning("threads of Kafka's library have not ended: ending at once");
        _exit(status);
    }
    return status;
}

int daemon_check(const struct config_sources *sources)
{
    AUTO_BUF struct buf text = {0};
    struct setup *setup = setup_load(sources, &text);
    if (setup == NULL) {
        fputs(text.data, stderr);
        return EX_CONFIG;
    }
    if (setup->warnings.data != NULL) {
        fputs(setup->warnings.data, stderr);
    }
    setup_describe(setup, &text);
    setup_free(setup);
    return fputs(text.data, stdout) >= 0 && fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}
