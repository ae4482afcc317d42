#include "daemon/gauges.h"
#include "daemon/parts.h"
#include "daemon/snapshot.h"
#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <stdlib.h>

/* Writes `why`, which `status` borrows. */
static void take_status(struct daemon *d, struct buf *why, struct status *status)
{
    const struct preflight_finding *blocking = clients_preflight(d->clients);
    struct brokers_view brokers;
    brokers_seen(d->clients, &brokers);
    struct monitor_sources from = daemon_sources(d);
    bool ready = monitor_ready(&d->monitor, &from, why);
    struct snapshot_sources sources = {
        .setup = d->setup,
        .pipeline = d->pipeline,
        .consumer = d->consumer,
        .signer = d->signer,
        .verifier = d->verifier,
        .unconfined = d->unconfined,
        .caller = d->caller,
        .refresher = d->refresher,
        .history = report_history(d->report),
        .verified = report_verified(d->report),
        .reload = &d->reload_status,
        .preflight = clients_preflight_found(d->clients),
        .blocking = blocking == NULL || d->stopping || d->drain.state != DRAIN_NONE
                        ? NULL
                        : preflight_row(blocking->check)->process_state,
        .drain_left = d->drain.state == DRAIN_DRAINED ? (int64_t)d->drain.left : STATUS_NONE,
        .brokers = &brokers,
        .unready = ready ? NULL : why->data,
        .transaction_last_error = report_last_error(d->report),
        .records = (int64_t)metric_value(metrics_series(d->metrics, METRIC_RECORDS, NULL)),
        .clock_offset_ms = report_clock_offset_ms(d->report),
        .state_works = state_dir_works(d->state),
        .log_level_until_ms = d->log_level.until_ms,
    };
    snapshot_take(&sources, clock_now(&clock_system), status);
}

static int page_metrics(void *context, const struct http_request *, struct buf *body)
{
    struct daemon *d = context;
    struct pipeline_status pipeline;
    struct status status;
    AUTO_BUF struct buf why = {0};
    pipeline_status(d->pipeline, &pipeline);
    take_status(d, &why, &status);
    gauges_set(d->metrics, &pipeline, &status);
    brokers_measure(d->metrics, d->clients);
    signing_measure(d->metrics, d->signer, d->verifier, setup_delivery(d->setup),
                    d->setup->config->daemon.sign_process);
    status_deinit(&status);
    metrics_write(d->metrics, body);
    return 200;
}

static int write_status(struct daemon *d, void (*write)(const struct status *, struct buf *),
                        struct buf *body)
{
    struct status status;
    AUTO_BUF struct buf why = {0};
    take_status(d, &why, &status);
    write(&status, body);
    status_deinit(&status);
    return 200;
}

static void write_short(const struct status *status, struct buf *out)
{
    status_html(status, false, out);
}

static void write_all(const struct status *status, struct buf *out)
{
    status_html(status, true, out);
}

static int page_status(void *context, const struct http_request *request, struct buf *body)
{
    bool all = http_argument(request, "all") != NULL;
    return write_status(context, all ? write_all : write_short, body);
}

int admin_pages_status_json(struct daemon *d, struct buf *body)
{
    return write_status(d, status_json, body);
}

static int page_status_json(void *context, const struct http_request *, struct buf *body)
{
    return admin_pages_status_json(context, body);
}

static int page_health(void *context, const struct http_request *, struct buf *body)
{
    struct daemon *d = context;
    struct monitor_sources from = daemon_sources(d);
    bool well = monitor_alive(&d->monitor, &from, body);
    buf_puts(body, well ? "ok\n" : "\n");
    return well ? 200 : 503;
}

static int page_ready(void *context, const struct http_request *, struct buf *body)
{
    struct daemon *d = context;
    struct monitor_sources from = daemon_sources(d);
    bool ready = monitor_ready(&d->monitor, &from, body);
    buf_puts(body, ready ? "ready\n" : "\n");
    return ready ? 200 : 503;
}

static int page_reload(void *context, const struct http_request *, struct buf *body)
{
    const struct daemon *d = context;
    reload_status_json(&d->reload_status, d->started_ms, body);
    return 200;
}

static const struct http_route pages[] = {
    {"GET", "/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics, NULL, NULL},
    {"GET", "/healthz", "text/plain; charset=utf-8", page_health, NULL, NULL},
    {"GET", "/readyz", "text/plain; charset=utf-8", page_ready, NULL, NULL},
    {"GET", "/", NULL, NULL, NULL, "/status"},
    {"GET", "/status", "text/html; charset=utf-8", page_status, NULL, NULL},
    {"GET", "/status.json", "application/json", page_status_json, NULL, NULL},
    {"GET", "/reload.json", "application/json", page_reload, NULL, NULL},
};

static struct http_server *serve(struct daemon *d, const char *listen, char **error)
{
    const struct http_server_config config = {.key = "admin_listen",
                                              .mode = 0660,
                                              .routes = pages,
                                              .route_count = ARRAY_LENGTH(pages),
                                              .context = d};
    return http_server_new(d->loop, listen, &config, error);
}

bool admin_pages_open(struct daemon *d)
{
    const char *listen = d->setup->config->daemon.admin_listen;
    char *error = NULL;
    if (listen == NULL || listen[0] == '\0') {
        return true;
    }
    d->admin = serve(d, listen, &error);
    return d->admin != NULL || daemon_complain(error, "daemon");
}

bool admin_pages_move(struct daemon *d, const char *listen, struct http_server **admin,
                      char **error)
{
    *admin = serve(d, listen, error);
    if (*admin != NULL || d->admin == NULL) {
        return *admin != NULL;
    }
    free(*error);
    *error = NULL;
    d->admin = http_server_free(d->admin);
    *admin = serve(d, listen, error);
    return *admin != NULL;
}
