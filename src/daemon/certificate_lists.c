/* The certificate lists of merchants with platform_certificates = auto: kept in the state directory
 * as they came, encrypted under the APIv3 key, so that the directory is no place to plant a key;
 * logged, counted, and told to the pipeline. Those of other merchants are removed. */
#include "daemon/parts.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/ops/messages.h"

#include <string.h>

#define FILE_PREFIX "certificates-"
#define FILE_SUFFIX ".json"

static char *file_name(const char *mchid)
{
    return mem_printf(FILE_PREFIX "%s" FILE_SUFFIX, mchid);
}

/* A list of a merchant without automatic certificates, or what a killed process left of one. */
static bool is_stale(const void *context, const char *name)
{
    const struct merchants *merchants = context;
    if (strncmp(name, FILE_PREFIX, strlen(FILE_PREFIX)) != 0) {
        return false;
    }
    AUTO_FREE char *mchid = mem_strdup(name + strlen(FILE_PREFIX));
    char *suffix = strstr(mchid, FILE_SUFFIX);
    if (suffix == NULL || strcmp(suffix, FILE_SUFFIX) != 0) {
        return true;
    }
    *suffix = '\0';
    const struct merchant *merchant = merchants_find(merchants, mchid);
    return merchant == NULL || merchant->platform_keys == NULL;
}

static void on_read(void *context, const char *mchid, struct buf *out)
{
    const struct daemon *d = context;
    AUTO_FREE char *name = file_name(mchid);
    if (!state_dir_read(d->state, name, out)) {
        out->len = 0;
    }
}

/* A failed write was logged; it is tried again with the next list. */
static void keep(struct daemon *d, const struct refresher_end *end)
{
    AUTO_FREE char *name = file_name(end->merchant->mchid);
    if (end->body != NULL && state_dir_given(d->state) &&
        state_dir_write(d->state, name, end->body, end->body_len)) {
        refresher_kept(d->refresher, end->merchant->mchid);
    }
}

static void log_fault(const struct refresher_end *end, const struct log_field *fields)
{
    const struct refresh_verdict *verdict = &end->verdict;
    AUTO_FREE char *status =
        verdict->status == 0 ? mem_strdup(verdict->reason) : mem_printf("HTTP %d", verdict->status);
    log_fields(LOG_WARNING, MESSAGE_CERTIFICATES_FAULT, fields,
               "merchant %s: the platform certificates were not refreshed: %s: %s (%s)",
               end->merchant->mchid, refresh_end_name(verdict->end), verdict->text, status);
}

/* Also where the keys stay the same: it may be the next certificate, which signs a day later. */
static void log_skipped(const struct refresher_end *end, const struct log_field *fields)
{
    if (end->skipped > 0 && (end->changed || end->skipped != end->skipped_before)) {
        log_fields(LOG_WARNING, MESSAGE_CERTIFICATES_FAULT, fields,
                   "merchant %s: %zu elements of the certificate list cannot be used: %s",
                   end->merchant->mchid, end->skipped, end->skipped_why);
    }
}

/* Once when it begins or is another one, once when it ends. */
static void log_end(const struct refresher_end *end)
{
    const char *mchid = end->merchant->mchid;
    const struct log_field fields[] = {
        {"MCHID", mchid}, {"WHY", refresh_end_name(end->verdict.end)}, {NULL, NULL}};
    if (end->verdict.is_fault) {
        if (!end->before.is_fault || strcmp(end->before.text, end->verdict.text) != 0) {
            log_fault(end, fields);
        }
    } else if (end->before.is_fault) {
        log_fields(LOG_NOTICE, MESSAGE_CERTIFICATES_REFRESHED, fields,
                   "merchant %s: the platform certificates are refreshed again", mchid);
    }
    log_skipped(end, fields);
}

static void log_keys(const struct merchant *merchant)
{
    AUTO_BUF struct buf serials = {0};
    size_t count;
    const struct verify_key *keys = platform_keys_get(merchant->platform_keys, &count);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&serials, "%s%s", i > 0 ? ", " : "", keys[i].serial);
    }
    log_fields(LOG_NOTICE, MESSAGE_CERTIFICATES_CHANGED, LOG_FIELDS({"MCHID", merchant->mchid}),
               "merchant %s: the platform certificates are now %s", merchant->mchid, serials.data);
}

static void on_ended(void *context, const struct refresher_end *end)
{
    struct daemon *d = context;
    keep(d, end);
    log_end(end);
    if (end->changed) {
        log_keys(end->merchant);
    }
    report_refresh(d->report, end);
    pipeline_keys_changed(d->pipeline, end->merchant->mchid, end->changed);
}

/* Requests for lists take connections that calls would use: a host that keeps them waiting must not
 * keep the events waiting. */
#define CONNECTIONS_SHARE 8

void certificate_lists_configure(struct daemon *d)
{
    const struct config *config = d->setup->config;
    refresher_configure(d->refresher, d->setup->merchants, config->endpoint.timeout_ms,
                        (unsigned)config->endpoint.max_connections / CONNECTIONS_SHARE);
    state_dir_sweep(d->state, is_stale, d->setup->merchants);
}

void certificate_lists_open(struct daemon *d)
{
    static const struct refresher_events events = {.read = on_read, .ended = on_ended};
    d->refresher = refresher_new(d->loop, &clock_system, d->caller, &events, d);
    certificate_lists_configure(d);
    report_certificates(d->report);
}
