#include "ctl/kit/control_client.h"

#include "ctl/kit/admin_client.h"
#include "ctl/kit/command.h"
#include "presignd/base/address.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/read.h"
#include "presignd/ops/control.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_MS = 10000 };

char *control_client_listen(const struct ctl_config *options, const char *given)
{
    AUTO_BUF struct buf problems = {0};
    if (given != NULL) {
        return mem_printf(ADDRESS_UNIX_PREFIX "%s", given);
    }
    struct config *config = ctl_config_gather(options, &problems);
    const char *path = config->daemon.control_socket;
    char *listen = NULL;
    if (config->files_lack || path == NULL) {
        command_fail(EX_CONFIG, "daemon.control_socket cannot be read:");
        (void)fputs(problems.data, stderr);
    } else if (path[0] == '\0') {
        command_fail(EX_CONFIG, "daemon.control_socket is empty: the daemon has no control socket");
    } else {
        listen = mem_printf(ADDRESS_UNIX_PREFIX "%s", path);
    }
    config_free(config);
    return listen;
}

/* Who asks: sudo(8) says who called it. */
static json_t *client_name(void)
{
    AUTO_BUF struct buf clean = {0};
    const char *name = getenv("SUDO_USER");
    const struct passwd *user = name == NULL ? getpwuid(getuid()) : NULL;
    name = user != NULL ? user->pw_name : name;
    AUTO_FREE char *text = name != NULL ? mem_strdup(name) : mem_printf("uid %u", getuid());
    text_clean(&clean, text, strlen(text), CONTROL_BY_MAX);
    return json_stringn(clean.data, clean.len);
}

static char *send_request(const char *listen, const char *path, json_t *request, int64_t timeout_ms,
                          long *status, struct buf *body)
{
    if (request == NULL) {
        return admin_client_get(listen, path, timeout_ms, status, body);
    }
    json_object_set_new(request, "by", client_name());
    AUTO_BUF struct buf bytes = {0};
    AUTO_FREE char *text = json_dumps(request, JSON_COMPACT);
    buf_puts(&bytes, text);
    return admin_client_post(listen, path, &bytes, timeout_ms, status, body);
}

int control_client_try(const char *listen, const char *path, json_t *request, int64_t timeout_ms,
                       json_t **answer, char **error)
{
    AUTO_BUF struct buf body = {0};
    AUTO_JSON json_t *owned = request;
    long status = 0;
    *answer = NULL;
    *error = send_request(listen, path, owned, timeout_ms, &status, &body);
    if (*error != NULL) {
        return -1;
    }
    *answer = json_read(body.data, body.len, JSON_NESTING_MAX, 0, NULL);
    if (!json_is_object(*answer)) {
        json_decref(*answer);
        *answer = NULL;
        *error =
            mem_printf("%s is not presignd's control socket (HTTP status %ld)", listen, status);
        return -1;
    }
    return (int)status;
}

static int exit_of(int http)
{
    return http == 404 ? EX_DATAERR : http == 400 || http == 413 ? EX_USAGE : EX_UNAVAILABLE;
}

int control_client_ask(const char *listen, const char *path, json_t *request, json_t **answer)
{
    AUTO_FREE char *error = NULL;
    int http = control_client_try(listen, path, request, ANSWER_MS, answer, &error);
    if (http < 0) {
        return command_fail(EX_UNAVAILABLE, "%s", error);
    }
    if (http >= 300) {
        int status = command_fail(exit_of(http), "%s", json_text(*answer, "error"));
        json_decref(*answer);
        *answer = NULL;
        return status;
    }
    return COMMAND_GO_ON;
}
