#include "presignd/wechatpay/caller.h"

#include "presignd/base/address.h"
#include "presignd/base/list.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"
#include "wechatpay/answer_ids.h"
#include "wechatpay/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(CALLER_HOSTS_MAX <= TRANSFER_HOSTS_MAX, "each host has its own queue");

/* Finished calls that are kept for reuse. */
enum { SPARE_CALLS_MAX = 64 };
/* A larger buffer is freed instead of reused. */
enum { REUSE_BYTES_MAX = 4096 };

/* One configuration. Each call holds a reference, so that a reload does not change calls in
 * flight. */
struct settings {
    struct list_link link; /* in caller.retired */
    unsigned references;
    unsigned host_count;
    char *base_url[CALLER_HOSTS_MAX];  /* without a slash at the end */
    char *host_name[CALLER_HOSTS_MAX]; /* as in outcomes */
    struct transfer_client *client;
};

struct caller {
    struct loop *loop;
    const struct clock *clock;
    struct signer *signer;
    caller_answered_fn *answered;
    caller_signed_fn *on_signed; /* or NULL */
    void *context;
    struct settings *settings;
    struct list retired;       /* old settings that calls may still hold */
    struct loop_timer sweeper; /* frees them outside their client's callbacks */
    struct list calls;         /* in flight */
    struct list spare;
    struct answer_ids *ids;                          /* accepted, of all settings */
    struct batch_verifier *verifier;                 /* or NULL */
    struct verify_check *collected[VERIFY_MANY_MAX]; /* of this round, not verified yet */
    size_t collected_count;
};

struct call {
    struct list_link link;
    struct caller *caller; /* NULL: it was freed while this was being signed */
    bool signing;          /* the signer holds it */
    struct settings *settings;
    struct attempt attempt; /* merchant is a reference; may be NULL in a GET */
    caller_got_fn *got;     /* of a GET, else NULL */
    const char *path;
    void *cookie;
    unsigned host;
    int64_t timestamp_s;
    char nonce[SIGN_NONCE_LENGTH + 1];
    struct signer_job job;
    struct loop_deferred sign_later; /* without a signer */
    struct transfer transfer;
    struct verify_check check;
    struct buf url, authorization, serial;
};

/* ---- Settings. ---- */

static struct settings *settings_free(struct settings *settings)
{
    if (settings == NULL) {
        return NULL;
    }
    transfer_client_free(settings->client);
    for (size_t i = 0; i < CALLER_HOSTS_MAX; i++) {
        free(settings->base_url[i]);
        free(settings->host_name[i]);
    }
    free(settings);
    return NULL;
}

static void url_free_at(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void curl_free_at(char **string)
{
    curl_free(*string);
}

/* A base URL has no path: the endpoint table has the path that is signed. */
static bool is_bare(CURLU *url)
{
    static const CURLUPart unwanted[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
                                         CURLUPART_FRAGMENT};
    for (size_t i = 0; i < ARRAY_LENGTH(unwanted); i++) {
        AUTO(curl_free_at) char *part = NULL;
        if (curl_url_get(url, unwanted[i], &part, 0) == CURLUE_OK) {
            return false;
        }
    }
    AUTO(curl_free_at) char *path = NULL;
    return curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK && strcmp(path, "/") == 0;
}

/* Splits a base URL into the URL of requests and the name for people. */
static bool read_base(const char *text, char **base, char **host_name)
{
    AUTO(url_free_at) CURLU *url = curl_url();
    AUTO(curl_free_at) char *scheme = NULL;
    AUTO(curl_free_at) char *host = NULL;
    AUTO(curl_free_at) char *port = NULL;
    if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
        !is_bare(url) ||
        (strcmp(scheme, "https") != 0 &&
         !(strcmp(scheme, "http") == 0 && address_is_loopback(host)))) {
        return false;
    }
    *base = mem_printf("%s://%s:%s", scheme, host, port);
    *host_name = strcmp(port, "443") == 0 ? mem_strdup(host) : mem_printf("%s:%s", host, port);
    return true;
}

static const char *const base_keys[CALLER_HOSTS_MAX] = {"base_url", "backup_url"};

static char *base_problem(unsigned host)
{
    return mem_printf("%s: must be https://HOST or https://HOST:PORT, without path, user or query; "
                      "http only for a loopback host (127.0.0.1, [::1], localhost)",
                      base_keys[host]);
}

static bool read_bases(struct settings *settings, const struct caller_config *config, char **error)
{
    for (unsigned i = 0; i < CALLER_HOSTS_MAX; i++) {
        const char *text = config->base_url[i];
        if (i > 0 && (text == NULL || text[0] == '\0')) {
            break;
        }
        if (!read_base(text == NULL ? "" : text, &settings->base_url[i], &settings->host_name[i])) {
            *error = base_problem(i);
            return false;
        }
        settings->host_count = i + 1;
    }
    return true;
}

static struct transfer_client_config client_config(const struct caller_config *config)
{
    return (struct transfer_client_config){.ca_file = config->ca_file,
                                           .proxy_ca_file = config->proxy_ca_file,
                                           .proxy = config->proxy,
                                           .connect_timeout_ms = config->connect_timeout_ms,
                                           .max_connections = config->max_connections};
}

bool caller_config_check(const struct caller_config *config, struct buf *errors)
{
    size_t clean = errors->len;
    for (unsigned i = 0; i < CALLER_HOSTS_MAX; i++) {
        const char *text = config->base_url[i];
        AUTO_FREE char *base = NULL;
        AUTO_FREE char *host_name = NULL;
        bool is_none = text == NULL || (i > 0 && text[0] == '\0');
        if (!is_none && !read_base(text, &base, &host_name)) {
            AUTO_FREE char *problem = base_problem(i);
            buf_printf(errors, "%s\n", problem);
        }
    }
    struct transfer_client_config client = client_config(config);
    return transfer_config_check(&client, errors) && errors->len == clean;
}

static struct settings *settings_new(struct loop *loop, const struct clock *clock,
                                     const struct caller_config *config, char **error)
{
    struct settings *settings = mem_zalloc(1, sizeof *settings);
    if (!read_bases(settings, config, error)) {
        return settings_free(settings);
    }
    struct transfer_client_config client = client_config(config);
    client.clock = clock;
    settings->client = transfer_client_new(loop, &client, error);
    return settings->client == NULL ? settings_free(settings) : settings;
}

static void settings_release(struct caller *caller, struct settings *settings)
{
    if (--settings->references == 0 && settings != caller->settings) {
        loop_timer_set(&caller->sweeper, 0);
    }
}

static void sweep(void *context)
{
    struct caller *caller = context;
    LIST_FOREACH_SAFE (&caller->retired, link) {
        struct settings *settings = CONTAINER_OF(link, struct settings, link);
        if (settings->references == 0) {
            list_remove(&caller->retired, link);
            settings_free(settings);
        }
    }
}

/* ---- A call. ---- */

static void call_free(struct call *call)
{
    buf_deinit(&call->job.message);
    buf_deinit(&call->job.signature);
    transfer_deinit(&call->transfer);
    buf_deinit(&call->url);
    buf_deinit(&call->authorization);
    buf_deinit(&call->serial);
    free(call);
}

static struct call *call_take(struct caller *caller)
{
    struct list_link *link = list_pop_front(&caller->spare);
    struct call *call =
        link == NULL ? mem_zalloc(1, sizeof *call) : CONTAINER_OF(link, struct call, link);
    list_push_back(&caller->calls, &call->link);
    call->caller = caller;
    call->settings = caller->settings;
    call->settings->references++;
    return call;
}

static void call_give_back(struct call *call)
{
    struct caller *caller = call->caller;
    settings_release(caller, call->settings);
    merchant_unref(call->attempt.merchant);
    verify_deinit(&call->check);
    list_remove(&caller->calls, &call->link);
    transfer_shrink(&call->transfer);
    if (caller->spare.count < SPARE_CALLS_MAX) {
        list_push_front(&caller->spare, &call->link);
    } else {
        call_free(call);
    }
}

static struct answer_input input_of(const struct transfer *transfer)
{
    return (struct answer_input){
        .transfer = transfer->status,
        .cause = transfer->cause,
        .status = transfer->http_status,
        .verify = {.serial = transfer_header(transfer, TRANSFER_HEADER_SERIAL),
                   .timestamp = transfer_header(transfer, TRANSFER_HEADER_TIMESTAMP),
                   .nonce = transfer_header(transfer, TRANSFER_HEADER_NONCE),
                   .signature = transfer_header(transfer, TRANSFER_HEADER_SIGNATURE),
                   .signature_type = transfer_header(transfer, TRANSFER_HEADER_SIGNATURE_TYPE),
                   .body = transfer->answer.len == 0 ? "" : transfer->answer.data,
                   .body_len = transfer->answer.len},
        .content_encoding = transfer_header(transfer, TRANSFER_HEADER_CONTENT_ENCODING),
        .retry_after = transfer_header(transfer, TRANSFER_HEADER_RETRY_AFTER),
        .request_id = transfer_header(transfer, TRANSFER_HEADER_REQUEST_ID),
    };
}

static void verify_collected(struct caller *caller)
{
    if (caller->collected_count > 0) {
        verify_many(caller->collected, caller->collected_count, caller->verifier);
        caller->collected_count = 0;
    }
}

static void collect(struct call *call)
{
    struct caller *caller = call->caller;
    const struct answer_input input = input_of(&call->transfer);
    struct verify_key room[MERCHANT_KEYS_MAX];
    size_t key_count;
    const struct verify_key *keys = merchant_keys(call->attempt.merchant, room, &key_count);
    verify_prepare(&call->check, keys, key_count, &input.verify,
                   clock_now(caller->clock).wall_ms / 1000);
    caller->collected[caller->collected_count++] = &call->check;
    if (caller->collected_count == VERIFY_MANY_MAX) {
        verify_collected(caller);
    }
}

/* The checks borrow keys, so they end before anybody hears of an answer and may replace them. */
static void on_ready(struct transfer *transfer)
{
    if (transfer->status == TRANSFER_DONE) {
        collect(CONTAINER_OF(transfer, struct call, transfer));
    }
}

static void classify(const struct call *call, struct answer *answer)
{
    const struct transfer *transfer = &call->transfer;
    const struct answer_input input = input_of(transfer);
    answer_classify(call->attempt.endpoint, &input, call->check.status,
                    clock_now(call->caller->clock).wall_ms, answer);
    if (transfer->status == TRANSFER_NOT_SENT || transfer->status == TRANSFER_BROKEN) {
        answer->detail = transfer->reason;
    }
    if (transfer->expired) {
        answer->counts_as_outage = false; /* the event's fault, not the host's */
    }
    answer->duration_us = transfer->duration_us;
    answer->duration_ms = (transfer->duration_us + 500) / 1000;
}

/* Both headers have whole seconds, so the moment is taken as half a second later; and the answer
 * was made about half a call ago. */
static void take_clock(const struct call *call, struct answer *answer)
{
    const struct transfer *transfer = &call->transfer;
    const char *timestamp = transfer_header(transfer, TRANSFER_HEADER_TIMESTAMP);
    const char *date = transfer_header(transfer, TRANSFER_HEADER_DATE);
    int64_t at_s = -1;
    if (transfer->status != TRANSFER_DONE || transfer->is_distrusted) {
        return;
    }
    if (answer->is_signed && text_int(timestamp, 0, INT64_MAX / 2000, &at_s)) {
        answer->clock = ANSWER_CLOCK_SIGNED;
    } else if (date != NULL && (at_s = (int64_t)curl_getdate(date, NULL)) > 0) {
        answer->clock = ANSWER_CLOCK_DATE;
    } else {
        return;
    }
    int64_t ours_ms = clock_now(call->caller->clock).wall_ms - transfer->duration_us / 2000;
    answer->clock_offset_ms = ours_ms - (at_s * 1000 + 500);
}

static void give_got(struct call *call, const char *reason)
{
    const struct transfer *transfer = &call->transfer;
    struct answer clock = {0}; /* not verified: only Date counts */
    struct caller_got got = {.status = 0, .reason = reason};
    if (reason == NULL && transfer->status == TRANSFER_DONE && !transfer->is_distrusted) {
        take_clock(call, &clock);
        got = (struct caller_got){.status = transfer->http_status,
                                  .input = input_of(transfer),
                                  .has_date = clock.clock == ANSWER_CLOCK_DATE,
                                  .clock_offset_ms = clock.clock_offset_ms};
    } else if (reason == NULL) {
        got.reason = transfer->reason != NULL ? transfer->reason : "no answer came";
    }
    call->got(call->cookie, &got);
    call_give_back(call);
}

/* Frees the call first, so that the callee can start another one within the limits. */
static void give_answer(struct call *call, struct answer *answer)
{
    struct caller *caller = call->caller;
    void *cookie = call->cookie;
    snprintf(answer->host, sizeof answer->host, "%s", call->settings->host_name[call->host]);
    call_give_back(call);
    caller->answered(caller->context, cookie, answer);
    answer_deinit(answer);
}

/* `redirect_url` has no id. */
static bool owns_id(const struct call *call, const struct answer *answer)
{
    const struct attempt *attempt = &call->attempt;
    bool has_id = strcmp(attempt->endpoint->id_field, "pre_entrustweb_id") == 0;
    return answer->kind != ANSWER_SUCCESS || !has_id || attempt->contract_code == NULL ||
           answer_ids_accept(call->caller->ids, answer->id_value, attempt->merchant->mchid,
                             attempt->contract_code, clock_now(call->caller->clock).mono_ms);
}

/* Detects an answer that belongs to another request. All later answers of that connection are
 * shifted as well, those of errors too. */
static void check_owner(const struct call *call, struct answer *answer)
{
    const struct transfer *transfer = &call->transfer;
    if (transfer->is_distrusted && transfer->status == TRANSFER_DONE) {
        answer_mark_foreign(answer, "the connection had brought another request's answer before");
    } else if (!owns_id(call, answer)) {
        answer_mark_foreign(
            answer, "the answer is rightly signed, but its id was accepted for another contract");
        transfer_client_distrust(call->settings->client, transfer);
    }
}

static void on_transferred(struct transfer *transfer)
{
    struct call *call = CONTAINER_OF(transfer, struct call, transfer);
    struct answer answer = {0};
    verify_collected(call->caller);
    if (call->check.status == VERIFY_UNKNOWN_SERIAL) {
        collect(call); /* a certificate list of this round may have brought its key */
        verify_collected(call->caller);
    }
    if (call->got != NULL) {
        give_got(call, NULL);
        return;
    }
    classify(call, &answer);
    take_clock(call, &answer);
    check_owner(call, &answer);
    give_answer(call, &answer);
}

static void send_call(struct call *call)
{
    const struct attempt *attempt = &call->attempt;
    const struct merchant *merchant = attempt->merchant;
    call->url.len = call->authorization.len = call->serial.len = 0;
    buf_printf(&call->url, "%s%s", call->settings->base_url[call->host], call->path);
    if (merchant != NULL) {
        buf_puts(&call->authorization, "Authorization: ");
        sign_authorization(&call->authorization, merchant->mchid, merchant->serial_no,
                           call->timestamp_s, call->nonce, call->job.signature.data);
    }
    if (merchant != NULL && merchant->public_key_id != NULL) {
        buf_printf(&call->serial, "Wechatpay-Serial: %s", merchant->public_key_id);
    }
    struct transfer *transfer = &call->transfer;
    call->check.status = VERIFY_UNSIGNED;
    transfer->host = call->host;
    transfer->url = call->url.data;
    transfer->body = attempt->body;
    transfer->body_len = attempt->body_len;
    transfer->authorization = call->authorization.len > 0 ? call->authorization.data : NULL;
    transfer->serial = call->serial.len > 0 ? call->serial.data : NULL;
    transfer->new_connection = attempt->new_connection;
    transfer->timeout_ms = attempt->timeout_ms;
    transfer->expires_ms = attempt->expires_ms;
    transfer->ready = call->got == NULL ? on_ready : NULL;
    transfer->done = on_transferred;
    transfer_start(call->settings->client, transfer);
}

/* Each key has signed when it was loaded, so this process lacks something, as memory: waiting for
 * it uses up no attempt. */
static void give_unsigned(struct call *call)
{
    const char *detail =
        call->job.lost ? "no signature came: look at the signing threads or process"
                       : "signing failed: look at the memory of the signing threads or process";
    if (call->got != NULL) {
        give_got(call, detail);
        return;
    }
    struct answer answer = {.kind = ANSWER_UNREACHABLE,
                            .call_state = CALL_NOT_SENT,
                            .verify = VERIFY_UNSIGNED,
                            .cause = ANSWER_CAUSE_SHORTAGE,
                            .lacks_signature = true,
                            .retry_after_ms = -1,
                            .detail = detail};
    give_answer(call, &answer);
}

static void on_signed(struct signer_job *job)
{
    struct call *call = CONTAINER_OF(job, struct call, job);
    call->signing = false;
    if (job->message.cap > REUSE_BYTES_MAX) {
        buf_deinit(&job->message);
    }
    if (call->caller == NULL) {
        merchant_unref(call->attempt.merchant);
        call_free(call);
        return;
    }
    if (job->ok) {
        if (call->caller->on_signed != NULL && call->got == NULL) {
            call->caller->on_signed(call->caller->context, call->attempt.merchant);
        }
        send_call(call);
        return;
    }
    give_unsigned(call);
}

/* Without signing threads, for programs that make one call. */
static void sign_here(void *context)
{
    struct call *call = context;
    struct signer_job *job = &call->job;
    job->lost = false;
    job->ok = sign_bytes(call->attempt.merchant->private_key, job->message.data, job->message.len,
                         &job->signature);
    on_signed(job);
}

static void sign_call(struct call *call)
{
    const struct attempt *attempt = &call->attempt;
    struct signer_job *job = &call->job;
    call->timestamp_s = clock_now(call->caller->clock).wall_ms / 1000;
    sign_nonce(call->nonce);
    job->key = attempt->merchant->sign_key;
    job->message.len = job->signature.len = 0;
    sign_message(&job->message, call->got == NULL ? "POST" : "GET", call->path, call->timestamp_s,
                 call->nonce, attempt->body, attempt->body_len);
    job->done = on_signed;
    call->signing = true;
    if (call->caller->signer != NULL) {
        signer_submit(call->caller->signer, job);
    } else {
        call->sign_later = (struct loop_deferred){.fn = sign_here, .context = call};
        loop_defer(call->caller->loop, &call->sign_later);
    }
}

static struct call *call_new(struct caller *caller, const struct attempt *attempt, void *cookie)
{
    struct call *call = call_take(caller);
    call->attempt = *attempt;
    call->attempt.merchant = attempt->merchant == NULL ? NULL : merchant_ref(attempt->merchant);
    call->cookie = cookie;
    /* A reload that the flow has not seen yet may have removed the backup host. */
    call->host = attempt->host < call->settings->host_count ? attempt->host : 0;
    return call;
}

void caller_start(struct caller *caller, const struct attempt *attempt, void *cookie)
{
    struct call *call = call_new(caller, attempt, cookie);
    call->got = NULL;
    call->path = attempt->endpoint->path;
    sign_call(call);
}

void caller_get(struct caller *caller, const struct caller_get *get, void *cookie)
{
    const struct attempt attempt = {.merchant = get->merchant,
                                    .host = get->host,
                                    .timeout_ms = get->timeout_ms,
                                    .expires_ms = INT64_MAX};
    struct call *call = call_new(caller, &attempt, cookie);
    call->got = get->got;
    call->path = get->path;
    if (get->merchant == NULL) {
        send_call(call);
    } else {
        sign_call(call);
    }
}

/* ---- The caller. ---- */

struct caller *caller_new(struct loop *loop, const struct clock *clock, struct signer *signer,
                          const struct caller_config *config, caller_answered_fn *answered,
                          void *context, char **error)
{
    struct settings *settings = settings_new(loop, clock, config, error);
    if (settings == NULL) {
        return NULL;
    }
    struct caller *caller = mem_zalloc(1, sizeof *caller);
    *caller = (struct caller){.loop = loop,
                              .clock = clock,
                              .signer = signer,
                              .answered = answered,
                              .context = context,
                              .settings = settings};
    unsigned char key[ANSWER_IDS_KEY_SIZE];
    if (getentropy(key, sizeof key) != 0) {
        abort(); /* fails only on a kernel without getrandom(2) */
    }
    caller->ids = answer_ids_new(key);
    list_init(&caller->retired);
    list_init(&caller->calls);
    list_init(&caller->spare);
    loop_timer_init(&caller->sweeper, loop, sweep, caller);
    return caller;
}

void caller_notify_signed(struct caller *caller, caller_signed_fn *notify)
{
    caller->on_signed = notify;
}

void caller_verify_by(struct caller *caller, struct batch_verifier *verifier)
{
    caller->verifier = verifier;
}

/* A call that the signer holds frees itself when it is signed. */
static void abandon(struct call *call)
{
    if (call->signing && call->caller->signer == NULL) {
        loop_defer_cancel(&call->sign_later);
    } else if (call->signing) {
        call->caller = NULL;
        return;
    }
    merchant_unref(call->attempt.merchant);
    call_free(call);
}

static void free_calls(struct caller *caller)
{
    for (struct list_link *link; (link = list_pop_front(&caller->calls)) != NULL;) {
        abandon(CONTAINER_OF(link, struct call, link));
    }
    for (struct list_link *link; (link = list_pop_front(&caller->spare)) != NULL;) {
        call_free(CONTAINER_OF(link, struct call, link));
    }
}

struct caller *caller_free(struct caller *caller)
{
    if (caller == NULL) {
        return NULL;
    }
    /* Clients first: they use the calls' transfers. */
    settings_free(caller->settings);
    for (struct list_link *link; (link = list_pop_front(&caller->retired)) != NULL;) {
        settings_free(CONTAINER_OF(link, struct settings, link));
    }
    free_calls(caller);
    loop_timer_stop(&caller->sweeper);
    answer_ids_free(caller->ids);
    free(caller);
    return NULL;
}

bool caller_configure(struct caller *caller, const struct caller_config *config, char **error)
{
    struct settings *settings = settings_new(caller->loop, caller->clock, config, error);
    if (settings == NULL) {
        return false;
    }
    list_push_back(&caller->retired, &caller->settings->link);
    caller->settings = settings;
    loop_timer_set(&caller->sweeper, 0);
    return true;
}

size_t caller_in_flight(const struct caller *caller)
{
    return caller->calls.count;
}

unsigned caller_host_count(const struct caller *caller)
{
    return caller->settings->host_count;
}

const char *caller_host_name(const struct caller *caller, unsigned host)
{
    return host < caller->settings->host_count ? caller->settings->host_name[host] : "";
}
