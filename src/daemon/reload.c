#include "daemon/parts.h"
#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/config/read.h"
#include "presignd/ops/messages.h"
#include "presignd/ops/notify.h"
#include "presignd/ops/process.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Names each changed key that needs a restart. */
static bool needs_restart(const struct daemon *d, const struct setup *fresh, struct buf *problems)
{
    AUTO_BUF struct buf keys = {0};
    bool needed = config_needs_restart(d->setup->config, fresh->config, &keys);
    char *rest = keys.data;
    for (char *key; (key = strsep(&rest, "\n")) != NULL;) {
        if (*key != '\0') {
            buf_printf(problems, "%s: changing it needs a restart\n", key);
        }
    }
    return needed;
}

/* What a reload has opened. NULL: the present one stays, or is closed. */
struct opened {
    struct http_server *admin, *control;
};

static bool control_moves(const struct daemon *d, const struct setup *fresh)
{
    return strcmp(d->setup->config->daemon.control_socket, fresh->config->daemon.control_socket) !=
           0;
}

/* Does everything that may fail, before anything is changed. */
static bool prepare_reload(struct daemon *d, const struct setup *fresh, struct opened *opened,
                           struct buf *problems)
{
    const char *old = d->setup->config->daemon.admin_listen;
    const char *new = fresh->config->daemon.admin_listen;
    AUTO_FREE char *error = NULL;
    bool restart = needs_restart(d, fresh, problems);
    if (!key_memory_check(d, fresh, problems) || restart) {
        return false;
    }
    if (strcmp(old, new) != 0 && new[0] != '\0' &&
        !admin_pages_move(d, new, &opened->admin, &error)) {
        buf_printf(problems, "daemon.admin_listen: %s", error);
        return false;
    }
    if (control_moves(d, fresh) &&
        !levers_open(d, fresh->config->daemon.control_socket, &opened->control, &error)) {
        buf_printf(problems, "daemon.control_socket: %s", error);
        return false;
    }
    if (!caller_configure(d->caller, &fresh->caller, &error)) {
        buf_printf(problems, "endpoint: %s", error);
        return false;
    }
    return true;
}

/* Nothing here can fail. */
static void apply_reload(struct daemon *d, struct setup *fresh, const struct opened *opened)
{
    struct setup *old = d->setup;
    if (strcmp(old->config->daemon.admin_listen, fresh->config->daemon.admin_listen) != 0) {
        http_server_free(d->admin);
        d->admin = opened->admin;
    }
    if (control_moves(d, fresh)) {
        levers_take(d, opened->control);
    }
    d->setup = fresh;
    d->identity.failure_original = fresh->config->daemon.failure_original;
    certificate_lists_configure(d);
    struct pipeline_rules rules = setup_rules(fresh, &d->identity);
    pipeline_configure(d->pipeline, &rules);
    if (!sign_service_resize(d->service, (unsigned)fresh->config->daemon.sign_threads)) {
        log_warning("fewer signing threads than configured: the system refuses more");
    }
    report_merchants(d->report, fresh->merchants);
    daemon_report_hosts(d);
    key_memory_keep(d);
    setup_free(old);
}

/* Keeps the result for `presignctl reload`, metrics and pages. `problems` NULL: applied. */
static void note_reload(struct daemon *d, const char *problems)
{
    reload_status_set(&d->reload_status, problems, clock_wall_ms());
    report_reload(d->report, problems == NULL);
}

static bool try_reload(struct daemon *d)
{
    AUTO_BUF struct buf problems = {0};
    struct opened opened = {NULL, NULL};
    struct setup *fresh =
        setup_complete(setup_read(d->sources, &problems), d->sources, d->service, &problems);
    if (fresh == NULL || !prepare_reload(d, fresh, &opened, &problems)) {
        http_server_free(opened.admin);
        http_server_free(opened.control);
        setup_free(fresh);
        note_reload(d, problems.data);
        daemon_log_lines(LOG_ERR, MESSAGE_RELOAD_FAILED, problems.data);
        log_fields(LOG_ERR, MESSAGE_RELOAD_FAILED, NULL,
                   "the new configuration is invalid; the old one stays in use");
        return false;
    }
    daemon_log_lines(LOG_WARNING, MESSAGE_CONFIGURATION_WRONG, fresh->warnings.data);
    process_raise_descriptors(setup_descriptors(fresh));
    apply_reload(d, fresh, &opened);
    note_reload(d, NULL);
    return true;
}

void reload_run(struct daemon *d)
{
    if (d->stopping) {
        note_reload(d, "presignd is stopping");
        return;
    }
    notify_reloading();
    bool applied = try_reload(d);
    if (d->admin == NULL && !admin_pages_open(d)) {
        log_warning("the admin listener is closed until the next reload or restart");
    }
    if (applied) {
        log_fields(LOG_NOTICE, MESSAGE_RELOADED, NULL, "the new configuration is in use");
    }
    notify_ready();
}
