/* WeChat Pay's hosts, step by step, and this machine's clock. First a connection alone, which tells
 * DNS, TCP and TLS apart, then one request without effect (wechatpay/probe.h). */
#include "ctl/check/online.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wechatpay/probe.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOCK_WARNING_S = 30 };

enum connection_step { STEP_SET_UP, STEP_PROXY, STEP_DNS, STEP_TCP, STEP_TLS, STEP_HTTP };

static const struct {
    const char *name, *mend;
} steps[] = {
    [STEP_SET_UP] = {"set-up", "correct [endpoint] of the configuration"},
    [STEP_PROXY] = {"proxy", "check proxy and proxy_ca_file of [endpoint], and the proxy's log"},
    [STEP_DNS] = {"DNS", "check the name, /etc/resolv.conf and the resolver: getent hosts NAME"},
    [STEP_TCP] = {"TCP",
                  "check routes and firewalls on the way to this host's port, or set proxy of "
                  "[endpoint]"},
    [STEP_TLS] = {"TLS", "check ca_file of [endpoint], or the package ca-certificates without it; "
                         "this machine's clock; whether something on the way replaces the "
                         "certificate"},
    [STEP_HTTP] = {"HTTP",
                   "check what is between this machine and WeChat Pay: a proxy or a gateway "
                   "that takes connections and does not pass requests on"},
};

/* --- The connection --- */

struct connection {
    enum connection_step step; /* where it failed; STEP_HTTP: it was made */
    char text[CURL_ERROR_SIZE];
    char address[64]; /* of the host, or of the proxy */
    int64_t took_ms;
};

/* curl calls this when the handshake begins. Its code for a time-out is one for all steps. */
static CURLcode on_handshake(CURL *, void *, void *context)
{
    *(bool *)context = true;
    return CURLE_OK;
}

static bool is_resolved(CURL *easy)
{
    curl_off_t us = 0;
    return curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &us) == CURLE_OK && us > 0;
}

static enum connection_step step_of(CURL *easy, CURLcode code, bool handshake, bool proxy)
{
    switch (code) {
    case CURLE_OK:
        return STEP_HTTP;
    case CURLE_COULDNT_RESOLVE_HOST:
        return STEP_DNS;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CACERT_BADFILE:
        return STEP_SET_UP;
    default:
        return handshake ? STEP_TLS : proxy ? STEP_PROXY : !is_resolved(easy) ? STEP_DNS : STEP_TCP;
    }
}

static void set_options(CURL *easy, const struct caller_config *config, const char *url,
                        int64_t timeout_ms)
{
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    /* As for calls: the environment's proxy is ignored. */
    curl_easy_setopt(easy, CURLOPT_PROXY, config->proxy == NULL ? "" : config->proxy);
    if (text_is_given(config->proxy)) {
        curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    }
    if (text_is_given(config->ca_file)) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
    }
    if (text_is_given(config->proxy_ca_file)) {
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, config->proxy_ca_file);
    }
    if (text_is_given(config->proxy_ca_file)) {
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, config->proxy_ca_file);
    }
}

static void connection_try(const struct caller_config *config, const char *url, int64_t timeout_ms,
                           struct connection *connection)
{
    *connection = (struct connection){0};
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        return;
    }
    set_options(easy, config, url, timeout_ms);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, connection->text);
    bool handshake = false;
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_handshake);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, &handshake);
    CURLcode code = curl_easy_perform(easy);
    connection->step = step_of(easy, code, handshake, text_is_given(config->proxy));
    if (code != CURLE_OK && connection->text[0] == '\0') {
        (void)snprintf(connection->text, sizeof connection->text, "%s", curl_easy_strerror(code));
    }
    const char *address = NULL;
    curl_off_t us = 0;
    curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &address);
    curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &us);
    (void)snprintf(connection->address, sizeof connection->address, "%s",
                   address == NULL ? "" : address);
    connection->took_ms = us / 1000;
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_cleanup(easy);
}

/* --- Findings --- */

static void found(struct online *online, const char *url, bool good, const char *is,
                  enum connection_step step)
{
    online_add(online, "hosts", url, good ? SEVERITY_OK : SEVERITY_ERROR, is,
               "DNS, TCP, TLS and HTTP work",
               "presignd calls it, or uses it when the other one fails",
               good ? NULL : steps[step].mend);
}

static void clock_found(struct online *online, const struct probe_answer *answer)
{
    int64_t off = answer->offset_s < 0 ? -answer->offset_s : answer->offset_s;
    AUTO_FREE char *is = answer->has_date ? mem_printf("%" PRId64 " s %s WeChat Pay's", off,
                                                       answer->offset_s < 0 ? "behind" : "ahead of")
                                          : mem_strdup("the answer has no Date");
    online->clock_wrong = answer->has_date && off >= VERIFY_CLOCK_SKEW_S;
    online_add(online, "clock", NULL,
               !answer->has_date        ? SEVERITY_UNKNOWN
               : online->clock_wrong    ? SEVERITY_ERROR
               : off >= CLOCK_WARNING_S ? SEVERITY_WARNING
                                        : SEVERITY_OK,
               is, "within 5 minutes of WeChat Pay's",
               "a request is refused with 401 otherwise, and no answer can be verified",
               off >= CLOCK_WARNING_S ? "let timedatectl or chrony set the clock"
               : !answer->has_date    ? "compare with another clock: timedatectl"
                                      : NULL);
}

/* Whether it answers. */
static bool host_look(struct online *online, const struct caller_config *config, unsigned host,
                      struct probe_answer *answer)
{
    const char *url = config->base_url[host];
    struct connection connection;
    connection_try(config, url, online->timeout_ms, &connection);
    if (connection.step != STEP_HTTP) {
        AUTO_FREE char *is = mem_printf("%s fails: %s", steps[connection.step].name,
                                        connection.text[0] == '\0' ? "no memory" : connection.text);
        found(online, url, false, is, connection.step);
        return false;
    }
    AUTO_FREE char *error = NULL;
    if (!probe_run(config, host, NULL, online->timeout_ms, answer, &error) || answer->status == 0) {
        AUTO_FREE char *is = mem_printf("connected to %s, but HTTP fails: %s", connection.address,
                                        error != NULL ? error : answer->reason);
        found(online, url, false, is, error != NULL ? STEP_SET_UP : STEP_HTTP);
        return false;
    }
    AUTO_FREE char *is = mem_printf("DNS, TCP%s work (%s%s, %" PRId64 " ms); HTTP %d",
                                    strncmp(url, "https:", 6) == 0 ? " and TLS" : "",
                                    text_is_given(config->proxy) ? "through the proxy " : "",
                                    connection.address, connection.took_ms, answer->status);
    found(online, url, true, is, STEP_HTTP);
    return true;
}

bool online_hosts(struct online *online, unsigned *host)
{
    const struct caller_config *config = &online->setup->caller;
    bool any = false;
    for (unsigned i = 0; i < CALLER_HOSTS_MAX; i++) {
        struct probe_answer answer = {0};
        bool answers = text_is_given(config->base_url[i]) && host_look(online, config, i, &answer);
        if (answers && !any) {
            any = true;
            *host = i;
            clock_found(online, &answer);
        }
    }
    if (!any) {
        online_add(online, "clock", NULL, SEVERITY_UNKNOWN, "no host answered", NULL, NULL,
                   "look at the hosts first");
    }
    return any;
}
