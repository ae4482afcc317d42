#include "presignd/daemon/daemon.h"

#include "daemon/confinement.h"
#include "daemon/parts.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/ops/messages.h"
#include "presignd/ops/notify.h"
#include "presignd/ops/process.h"
#include "presignd/version.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* The time limit for Kafka's clients to abort their transaction and to end. */
#define CLIENTS_CLOSE_MS INT64_C(7000)
/* With delivery = at_least_once, for positions of visible outcomes beyond drain_timeout_ms. */
#define HALF_PUBLISHED_MS INT64_C(5000)

bool daemon_complain(char *error, const char *what)
{
    log_error("%s: %s", what, error);
    free(error);
    return false;
}

void daemon_log_lines(int level, const char *message_id, char *text)
{
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (*line != '\0') {
            log_fields(level, message_id, NULL, "%s", line);
        }
    }
}

void daemon_report_hosts(struct daemon *d)
{
    for (unsigned i = 0; i < caller_host_count(d->caller); i++) {
        report_host(d->report, caller_host_name(d->caller, i));
    }
}

/* --- The step --- */

/* The step follows every round of the loop. */
static void on_step_timer(void *)
{
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
    bool drain_rests = drain_step(d);
    if (d->stopping && drain_rests && pipeline_idle(d->pipeline)) {
        loop_stop(d->loop, d->stop_status);
    }
}

/* --- Signals --- */

static void stop(struct daemon *d)
{
    if (d->stopping) {
        log_notice("second stop request: stopping at once; events in flight are processed after "
                   "the next start");
        loop_stop(d->loop, d->stop_status);
        return;
    }
    int64_t timeout_ms = d->setup->config->daemon.drain_timeout_ms;
    d->stopping = true;
    d->stop_end_ms = clock_mono_ms() + timeout_ms;
    notify_stopping();
    notify_extend_timeout(timeout_ms + TAKE_DOWN_MS);
    log_fields(LOG_NOTICE, MESSAGE_STOPPING, NULL,
               "stopping: calls in flight have %" PRId64 " ms to end", timeout_ms);
    pipeline_drain(d->pipeline);
}

static void on_signal(void *context, int signal_number)
{
    struct daemon *d = context;
    if (signal_number == SIGHUP) {
        reload_run(d);
    } else {
        stop(d);
    }
}

/* Another one could not be started: this process may read no keys any more. */
static void on_signing_end(void *context)
{
    struct daemon *d = context;
    const char *how = sign_service_end(d->service);
    log_fields(LOG_ERR, MESSAGE_SIGNING_ENDED, NULL,
               "the signing process %s: nothing can be signed; %s",
               how != NULL ? how : "has closed its socket",
               d->stopping ? "events that are not called are processed after the next start"
                           : "stopping, to be started again");
    if (!d->stopping) {
        d->stop_status = EX_UNAVAILABLE;
        stop(d);
    }
}

struct monitor_sources daemon_sources(const struct daemon *d)
{
    return (struct monitor_sources){
        .pipeline = d->pipeline,
        .consumer = d->consumer,
        .publisher = d->publisher,
        .clients_waiting = clients_waiting(d->clients),
        .preflight = clients_preflight(d->clients),
        .metadata = clients_metadata_last_error(d->clients),
        .report = d->report,
        .unsigned_ms = signer_silent_ms(d->signer, clock_mono_ms()),
        .drain = daemon_drain_state(d),
        .stopping = d->stopping,
        .stop_end_ms = d->stop_end_ms,
        .take_down_ms = TAKE_DOWN_MS,
    };
}

/* --- The tick --- */

static void on_tick(void *context)
{
    struct daemon *d = context;
    struct moment now = clock_now(&clock_system);
    struct monitor_sources from = daemon_sources(d);
    monitor_tick(&d->monitor, &from, now.mono_ms);
    daemon_pauses_tick(d);
    brokers_log(&d->brokers_watch, d->clients, now.mono_ms);
    signing_log(&d->signing_log, d->signer, d->verifier);
    report_tick(d->report, now.mono_ms);
    key_memory_tick(d);
    bool half =
        pipeline_half_published(d->pipeline) && now.mono_ms < d->stop_end_ms + HALF_PUBLISHED_MS;
    if (d->stopping && now.mono_ms >= d->stop_end_ms && !half) {
        struct pipeline_status status;
        pipeline_status(d->pipeline, &status);
        log_fields(
            LOG_WARNING, MESSAGE_DRAIN_TIMEOUT, NULL,
            "stopping with %zu calls in flight: their events are processed after the next start",
            status.in_flight);
        loop_stop(d->loop, d->stop_status);
    }
    loop_timer_set(&d->tick_timer, now.mono_ms + MONITOR_TICK_MS);
}

/* --- Life --- */

/* Before the configuration is read, so that a signal in between is kept. */
static bool build_loop(struct daemon *d)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    signal(SIGPIPE, SIG_IGN);
    d->loop = loop_new();
    if (d->loop == NULL || !loop_signals(d->loop, signals, on_signal, d)) {
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
    monitor_init(&d->monitor, notify_watchdog_ms(), clock_mono_ms());
    d->metrics = metrics_new();
    d->report = report_new(d->metrics);
    report_merchants(d->report, d->setup->merchants);
    levers_init(d);
    metrics_clear(d->metrics, METRIC_UNCLEAN_START); /* known with a state directory only */
    d->state = state_dir_open(d->setup->config->daemon.state_dir);
    key_memory_open(d);
}

static bool build_caller(struct daemon *d)
{
    char *error = NULL;
    d->signer = signer_new(d->loop, d->service);
    if (d->signer == NULL) {
        log_error("no watch for the signing threads: %s", strerror(errno));
        return false;
    }
    signer_notify_end(d->signer, on_signing_end, d);
    if (!sign_service_resize(d->service, (unsigned)d->setup->config->daemon.sign_threads)) {
        log_error("no signing threads: the system refuses them");
        return false;
    }
    if (!sign_service_is_locked(d->service)) {
        log_warning("the memory that libcrypto_mb computes keys in is not locked: give the service "
                    "LimitMEMLOCK=64M");
    }
    d->caller = caller_new(d->loop, &clock_system, d->signer, &d->setup->caller, ports_on_answered,
                           d, &error);
    if (d->caller == NULL) {
        return daemon_complain(error, "endpoint");
    }
    caller_notify_signed(d->caller, ports_on_signed);
    caller_verify_by(d->caller, d->verifier);
    certificate_lists_open(d);
    daemon_report_hosts(d);
    return true;
}

#define RUNNING_FILE "running"

/* The file is there while a process runs, and remains when nobody asked it to end. */
static void note_start(struct daemon *d)
{
    AUTO_BUF struct buf before = {0};
    AUTO_BUF struct buf text = {0};
    bool unclean = state_dir_read(d->state, RUNNING_FILE, &before);
    buf_printf(&text, "%d\n", (int)getpid());
    if (state_dir_write(d->state, RUNNING_FILE, text.data, text.len)) {
        metric_set(metrics_series(d->metrics, METRIC_UNCLEAN_START, NULL), unclean);
    }
}

static void note_end(struct daemon *d)
{
    key_memory_close(d);
    if (d->stopping) {
        (void)state_dir_remove(d->state, RUNNING_FILE);
    }
    d->state = state_dir_free(d->state);
}

static bool open_control(struct daemon *d)
{
    char *error = NULL;
    return levers_open(d, d->setup->config->daemon.control_socket, &d->control, &error) ||
           daemon_complain(error, "daemon");
}

/* Builds in the order of the data; after a failure the caller takes down what was built. The Kafka
 * clients come after the admin listener, so that a second process, started by mistake, fails on the
 * admin address before it fences the first one. */
static bool build(struct daemon *d)
{
    build_base(d);
    if (!admin_pages_open(d) || !open_control(d) || !build_caller(d) || !ports_build_clients(d)) {
        return false;
    }
    ports_build_pipeline(d);
    daemon_pauses_open(d);
    loop_timer_init(&d->step_timer, d->loop, on_step_timer, d);
    loop_timer_init(&d->tick_timer, d->loop, on_tick, d);
    loop_timer_set(&d->tick_timer, clock_mono_ms());
    loop_step_set(d->loop, step, d);
    note_start(d);
    return true;
}

/* Ends the process when the take-down takes too long. */
static void *take_down_guard(void *status)
{
    struct timespec left = {.tv_sec = TAKE_DOWN_MS / 1000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL);
    log_warning("the take-down takes longer than %" PRId64 " ms: ending at once", TAKE_DOWN_MS);
    _exit(*(const int *)status);
}

/* False when threads of librdkafka still run. `status` must outlive the process's last thread. */
static bool take_down(struct daemon *d, int *status)
{
    pthread_t guard;
    if (pthread_create(&guard, NULL, take_down_guard, status) == 0) {
        (void)pthread_detach(guard);
    }
    http_server_free(d->admin);
    levers_deinit(d);
    note_end(d);
    caller_free(d->caller);
    batch_verifier_free(d->verifier);
    refresher_free(d->refresher);
    topic_check_stop(&d->topic_check);
    bool clients_ended = clients_free(d->clients, CLIENTS_CLOSE_MS);
    pipeline_free(d->pipeline);
    signer_free(d->signer);
    report_free(d->report);
    metrics_free(d->metrics);
    loop_timer_stop(&d->step_timer);
    loop_timer_stop(&d->tick_timer);
    loop_free(d->loop);
    reload_status_deinit(&d->reload_status);
    rotation_deinit(&d->known_keys);
    setup_free(d->setup);
    sign_service_free(d->service);
    return clients_ended;
}

static bool start_signing(struct daemon *d, bool own_process)
{
    char *error = NULL;
    d->service =
        own_process ? sign_service_process(&error) : sign_service_threads(endpoint_may_post);
    if (d->service == NULL && error == NULL) {
        error = mem_printf("no signing threads: %s", strerror(errno));
    }
    return d->service != NULL || daemon_complain(error, "daemon");
}

/* Answers are verified by libcrypto_mb where requests are signed by it. In a process of its own it
 * was loaded there alone, so here it may fail, for example without memory. */
static void choose_verifier(struct daemon *d)
{
    AUTO_FREE char *why = NULL;
    if (sign_service_backend(d->service) == SIGN_BY_CRYPTO_MB) {
        d->verifier = batch_verifier_new(&why);
    }
    if (why != NULL) {
        log_warning("answers are verified by openssl: %s", why);
    }
}

/* A signing process that died may live the next time, so it must not look like a fault of the
 * configuration, after which nobody starts the service again. Returns an exit status. */
static int refuse(struct daemon *d, char *problems)
{
    daemon_log_lines(LOG_ERR, MESSAGE_CONFIGURATION_WRONG, problems);
    if (sign_service_answers(d->service)) {
        return EX_CONFIG;
    }
    const char *how = sign_service_end(d->service);
    log_fields(LOG_ERR, MESSAGE_SIGNING_ENDED, NULL,
               "the signing process %s: no key can be read; ending, to be started again",
               how != NULL ? how : "does not answer");
    return EX_UNAVAILABLE;
}

/* The signing process is started before the keys are read, which it does, and before there are
 * threads. Returns an exit status. */
static int load(struct daemon *d)
{
    AUTO_BUF struct buf problems = {0};
    AUTO_BUF struct buf named = {0};
    struct config_sources sources = *d->sources;
    sources.named = &named;
    struct setup *setup = setup_read(&sources, &problems);
    bool own_process = setup->config->daemon.sign_process;
    if (!start_signing(d, own_process)) {
        setup_free(setup);
        return EX_UNAVAILABLE;
    }
    AUTO_FREE char *signs = setup_choose_backend(setup, d->service, &problems);
    choose_verifier(d);
    d->unconfined =
        own_process && !confinement_begin(setup->config, sources.credentials_dir, &named);
    d->setup = setup_complete(setup, d->sources, d->service, &problems);
    if (d->setup == NULL) {
        return refuse(d, problems.data);
    }
    daemon_log_lines(LOG_WARNING, MESSAGE_CONFIGURATION_WRONG, d->setup->warnings.data);
    process_raise_descriptors(setup_descriptors(d->setup));
    log_notice("requests are signed by %s", signs);
    return EX_OK;
}

int daemon_run(const struct config_sources *sources)
{
    struct moment now = clock_now(&clock_system);
    struct daemon d = {.sources = sources, .started_ms = now.wall_ms};
    int loaded = build_loop(&d) ? load(&d) : EX_UNAVAILABLE;
    if (loaded != EX_OK) {
        batch_verifier_free(d.verifier);
        sign_service_free(d.service);
        loop_free(d.loop);
        return loaded;
    }
    log_fields(LOG_NOTICE, MESSAGE_STARTED, NULL, "presignd %s starts as instance %s",
               PRESIGND_VERSION, d.setup->config->daemon.instance);
    /* The configuration is valid: a failure from here on is the system's and may be temporary. */
    static int status; /* the guard thread reads it */
    status = build(&d) ? loop_run(d.loop) : EX_UNAVAILABLE;
    bool ended = take_down(&d, &status);
    log_fields(LOG_NOTICE, MESSAGE_STOPPED, NULL, "stopped with status %d", status);
    if (!ended) {
        log_warning("threads of librdkafka have not ended: ending at once");
        _exit(status);
    }
    return status;
}

bool daemon_is_signing_process(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], SIGN_PROCESS_ARGUMENT) == 0;
}

int daemon_sign(void)
{
    return sign_process_main(endpoint_may_post);
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
