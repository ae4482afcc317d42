#include "ctl/check/known.h"

#include "ctl/check/unit.h"
#include "ctl/kit/admin_client.h"
#include "presignd/base/address.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/read.h"
#include "presignd/setup/rotation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MS = 2000 };

/* Where systemd places StateDirectory=presignd. */
#define STATE_DIR "/var/lib/presignd"

static bool is_installed(const struct ctl_config *options)
{
    return options->path == NULL || strcmp(options->path, CONFIG_DEFAULT_PATH) == 0;
}

static void check_unit(struct setup *setup, const struct ctl_config *options)
{
    struct unit unit = {0};
    AUTO_FREE char *path =
        realpath(options->path == NULL ? CONFIG_DEFAULT_PATH : options->path, NULL);
    if (path != NULL) {
        unit_read(&unit, path);
    }
    if (unit.descriptors > 0) {
        setup_check_descriptors(setup, unit.descriptors, unit.name);
    }
    unit_deinit(&unit);
}

/* --- The keys that were in use before --- */

/* Of the daemon with this configuration's instance, or NULL. */
static json_t *status_at(const struct setup *setup, const char *listen, const char *path)
{
    AUTO_BUF struct buf body = {0};
    long http = 0;
    AUTO_FREE char *error = admin_client_get(listen, path, ANSWER_MS, &http, &body);
    json_t *status = error == NULL && http == 200
                         ? json_read(body.data, body.len, JSON_NESTING_MAX, 0, NULL)
                         : NULL;
    const char *instance = json_text(json_object_get(status, "process"), "instance");
    if (strcmp(instance, setup->config->daemon.instance) != 0) {
        json_decref(status);
        return NULL;
    }
    return status;
}

static json_t *running(const struct setup *setup)
{
    const char *control = setup->config->daemon.control_socket;
    const char *listen = setup->config->daemon.admin_listen;
    AUTO_FREE char *socket = mem_printf(ADDRESS_UNIX_PREFIX "%s", control == NULL ? "" : control);
    json_t *status = text_is_given(control) ? status_at(setup, socket, "/v1/status") : NULL;
    return status == NULL && text_is_given(listen) ? status_at(setup, listen, "/status.json")
                                                   : status;
}

/* The daemon has read its credentials at its start. */
static void warn_of_credentials(struct setup *setup, const json_t *merchants)
{
    size_t index;
    const json_t *item;
    json_array_foreach (merchants, index, item) {
        const char *mchid = json_text(item, "mchid");
        const struct merchant *merchant = merchants_find(setup->merchants, mchid);
        if (merchant != NULL && strcmp(json_text(item, "key_from"), "credential") == 0 &&
            strcmp(json_text(item, "key_sha256"), merchant->key_sha256) != 0) {
            buf_printf(&setup->warnings,
                       "%s: merchant %s: private_key: the daemon has another key, as a credential: "
                       "a restart takes the new one, a reload does not\n",
                       config_origin(setup->config, "merchant", mchid, "private_key"), mchid);
        }
    }
}

/* The pair of a merchant that WeChat Pay answers 401 proves nothing. */
static void discard_refused(struct rotation *known, const json_t *merchants)
{
    size_t index;
    const json_t *merchant;
    json_array_foreach (merchants, index, merchant) {
        if (strcmp(json_text(merchant, "last_answer"), "unauthorized") == 0) {
            rotation_discard(known, json_text(merchant, "mchid"));
        }
    }
}

/* False when there is no such file. */
static bool read_state(const struct setup *setup, const struct ctl_config *options,
                       struct rotation *known)
{
    const char *directory = setup->config->daemon.state_dir;
    if (!text_is_given(directory)) {
        directory = is_installed(options) ? STATE_DIR : "";
    }
    AUTO_FREE char *path = mem_printf("%s/" ROTATION_FILE, directory);
    AUTO_JSON json_t *list =
        *directory == '\0' ? NULL : json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    rotation_read(known, list);
    return list != NULL;
}

static void check_keys(struct setup *setup, const struct ctl_config *options, struct buf *problems)
{
    struct rotation known = {0};
    AUTO_JSON json_t *status = running(setup);
    if (status != NULL) {
        const json_t *merchants = json_object_get(status, "merchants");
        rotation_read(&known, merchants);
        discard_refused(&known, merchants);
        (void)rotation_check(&known, setup, NULL, problems);
        warn_of_credentials(setup, merchants);
    } else if (read_state(setup, options, &known)) {
        (void)rotation_check(&known, setup, NULL, &setup->warnings);
    }
    rotation_deinit(&known);
}

void known_check(struct setup *setup, const struct ctl_config *options, struct buf *problems)
{
    check_unit(setup, options);
    check_keys(setup, options, problems);
}
