#include "ctl/kit/admin_client.h"

#include "ctl/kit/command.h"
#include "presignd/base/address.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/read.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

char *admin_client_status(const struct ctl_config *options, const char **path)
{
    AUTO_BUF struct buf problems = {0};
    struct config *config = ctl_config_gather(options, &problems);
    const char *listen = config->daemon.admin_listen, *control = config->daemon.control_socket;
    char *found = NULL;
    *path = "/status.json";
    if (config->files_lack || listen == NULL) {
        command_fail(EX_CONFIG, "daemon.admin_listen cannot be read:");
        (void)fputs(problems.data, stderr);
    } else if (listen[0] != '\0') {
        found = mem_strdup(listen);
    } else if (text_is_given(control)) {
        *path = "/v1/status";
        found = mem_printf(ADDRESS_UNIX_PREFIX "%s", control);
    } else {
        command_fail(EX_CONFIG,
                     "daemon.admin_listen and daemon.control_socket are empty: nothing tells the "
                     "daemon's state");
    }
    config_free(config);
    return found;
}

/* The size that is not named is 1 (CURLOPT_WRITEFUNCTION(3)). */
static size_t take(char *bytes, size_t, size_t count, void *context)
{
    struct buf *body = context;
    if (body->len + count > ADMIN_ANSWER_MAX) {
        return 0; /* makes curl fail */
    }
    buf_append(body, bytes, count);
    return count;
}

/* Unix sockets have an option of their own; the URL then needs any host name. */
static CURLcode set_address(CURL *curl, const char *listen, const char *path)
{
    const char *unix_path = address_path(listen);
    AUTO_FREE char *url = mem_printf("http://%s%s", unix_path == NULL ? listen : "presignd", path);
    CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, url);
    if (code == CURLE_OK && unix_path != NULL) {
        code = curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, unix_path);
    }
    return code;
}

static CURLcode set_request(CURL *curl, const struct buf *request)
{
    if (request == NULL) {
        return CURLE_OK;
    }
    CURLcode code = curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)request->len);
    return code != CURLE_OK ? code : curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->data);
}

static CURLcode prepare(CURL *curl, const char *listen, const char *path, const struct buf *request,
                        int64_t timeout_ms, struct buf *body)
{
    CURLcode codes[] = {
        set_address(curl, listen, path),
        set_request(curl, request),
        curl_easy_setopt(curl, CURLOPT_PROXY, ""), /* ignore http_proxy */
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http"),
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms),
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take),
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, body),
    };
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        if (codes[i] != CURLE_OK) {
            return codes[i];
        }
    }
    return CURLE_OK;
}

static CURL *call(const char *listen, const char *path, const struct buf *request,
                  int64_t timeout_ms, struct buf *body, char **error)
{
    union address address;
    if (!address_parse(listen, &address)) {
        *error = mem_printf("%s is neither ADDRESS:PORT nor unix:/PATH", listen);
        return NULL;
    }
    buf_append(body, "", 0);
    CURL *curl = curl_easy_init();
    if (curl == NULL || prepare(curl, listen, path, request, timeout_ms, body) != CURLE_OK) {
        curl_easy_cleanup(curl);
        *error = mem_strdup("libcurl cannot be initialised");
        return NULL;
    }
    return curl;
}

CURL *admin_client_call(const char *listen, const char *path, int64_t timeout_ms, struct buf *body,
                        char **error)
{
    return call(listen, path, NULL, timeout_ms, body, error);
}

/* The system's reason, where there is one: "Permission denied" tells more than "Couldn't connect".
 */
static char *no_answer(CURL *curl, const char *listen, CURLcode code)
{
    long failure = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &failure);
    return mem_printf("no answer from %s: %s", listen,
                      code == CURLE_COULDNT_CONNECT && failure != 0 ? strerror((int)failure)
                                                                    : curl_easy_strerror(code));
}

static char *ask(const char *listen, const char *path, const struct buf *request,
                 int64_t timeout_ms, long *status, struct buf *body)
{
    char *error = NULL;
    CURL *curl = call(listen, path, request, timeout_ms, body, &error);
    if (curl == NULL) {
        return error;
    }
    CURLcode code = curl_easy_perform(curl);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    error = code == CURLE_OK ? NULL : no_answer(curl, listen, code);
    curl_easy_cleanup(curl);
    return error;
}

char *admin_client_get(const char *listen, const char *path, int64_t timeout_ms, long *status,
                       struct buf *body)
{
    return ask(listen, path, NULL, timeout_ms, status, body);
}

char *admin_client_post(const char *listen, const char *path, const struct buf *request,
                        int64_t timeout_ms, long *status, struct buf *body)
{
    return ask(listen, path, request, timeout_ms, status, body);
}
