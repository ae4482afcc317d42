#include "ctl/kit/admin_client.h"

#include "presignd/base/address.h"
#include "presignd/base/mem.h"
#include "presignd/config/read.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

char *admin_client_listen(const struct command *command, const struct ctl_config *options)
{
    AUTO_BUF struct buf problems = {0};
    struct config *config = ctl_config_gather(options, &problems);
    const char *listen = config->daemon.admin_listen;
    char *copy = NULL;
    if (config->files_lack || listen == NULL) {
        command_fail(command, EX_CONFIG, "daemon.admin_listen cannot be read:");
        (void)fputs(problems.data, stderr);
    } else if (listen[0] == '\0') {
        command_fail(command, EX_CONFIG,
                     "daemon.admin_listen is empty: the daemon has no admin listener");
    } else {
        copy = mem_strdup(listen);
    }
    config_free(config);
    return copy;
}

static size_t take(char *bytes, size_t size, size_t count, void *context)
{
    struct buf *body = context;
    (void)size; /* always 1: CURLOPT_WRITEFUNCTION(3) */
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

static CURLcode get(CURL *curl, const char *listen, const char *path, int64_t timeout_ms,
                    struct buf *body)
{
    CURLcode codes[] = {
        set_address(curl, listen, path),
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
    return curl_easy_perform(curl);
}

char *admin_client_get(const char *listen, const char *path, int64_t timeout_ms, long *status,
                       struct buf *body)
{
    union address address;
    if (!address_parse(listen, &address)) {
        return mem_printf("%s is neither ADDRESS:PORT nor unix:/PATH", listen);
    }
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        return mem_strdup("libcurl cannot be initialised");
    }
    buf_append(body, "", 0);
    CURLcode code = get(curl, listen, path, timeout_ms, body);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    curl_easy_cleanup(curl);
    return code == CURLE_OK ? NULL
                            : mem_printf("no answer from %s: %s", listen, curl_easy_strerror(code));
}
