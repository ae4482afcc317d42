/* The configuration: one table of keys, from which parsing, defaults, ranges, `--help`, the
 * sample file and the manual page are derived.
 *
 * INI by libinih. FILE, then FILE's `.d` directory's *.conf in name order (for
 * /etc/presignd/presignd.conf: /etc/presignd/presignd.conf.d/), then --set. Everything that is
 * wrong is told at once, with file and line. Reading files blocks; nothing else here does.
 */
#ifndef PRESIGND_CONFIG_CONFIG_H
#define PRESIGND_CONFIG_CONFIG_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_DEFAULT_PATH   "/etc/presignd/presignd.conf"
#define CONFIG_MERCHANTS_MAX  1024
#define CONFIG_PROPERTIES_MAX 256
#define CONFIG_FILE_MAX       1048576

struct config_merchant {
    char *mchid;
    bool partner; /* mode */
    bool is_default;
    char *serial_no;               /* as written: judged with the keys, by wechatpay/merchant.h */
    char *private_key;             /* a path; @NAME is resolved to $CREDENTIALS_DIRECTORY/NAME */
    char *wechatpay_public_key_id; /* likewise */
    char *wechatpay_public_key;
    char *apiv3_key;             /* the 32 bytes themselves; "" when there is none */
    char *platform_certificates; /* off | comma separated paths, resolved */
    int64_t max_in_flight;
    int64_t rate_per_s;
    char *where; /* FILE:LINE of the section, for messages */
};

/* client: as enum kafka_client of kafka/properties.h (0 both, 1 consumer, 2 producer). */
struct config_property {
    int client;
    char *name;
    char *value; /* @NAME resolved to the credential's content, one trailing newline cut */
    char *where;
};

/* Where a key was given, or a section (`key` empty). */
struct config_place {
    char *section;
    char *argument; /* a merchant's id, else "" */
    char *key;
    char *where; /* FILE:LINE or --set SECTION.KEY */
};

struct config {
    struct {
        char *instance, *requests_topic, *results_topic, *failures_topic, *schema_dir;
        int64_t max_event_bytes, max_event_age_ms, max_in_flight, sign_threads;
        int64_t commit_interval_ms, drain_timeout_ms;
        char *admin_listen; /* "" : off */
        bool failure_original;
    } daemon;
    struct {
        char *base_url, *backup_url, *ca_file, *proxy;
        int64_t connect_timeout_ms, timeout_ms, max_connections;
    } endpoint;
    struct {
        int64_t max_attempts, base_delay_ms, max_delay_ms, give_up_after_ms, hold_unauthorized_ms;
    } retry;
    struct config_property *properties;
    size_t property_count;
    struct config_merchant *merchants;
    size_t merchant_count;
    char *path;                  /* of the main file */
    struct config_place *places; /* see config_where() */
    size_t place_count;
    bool files_lack; /* one could not be read: what is missing may stand there */
    /* Some of [kafka]'s lines are wrong and left out, so that the others alone tell little. */
    bool properties_lack;
};

/* One --set SECTION.KEY=VALUE each; a section may hold a space ("merchant 1900007291.mode=…")
 * and [kafka]'s keys hold points ("kafka.bootstrap.servers=…"). */
struct config_sources {
    const char *path; /* NULL: CONFIG_DEFAULT_PATH */
    const char *const *sets;
    size_t set_count;
    const char *credentials_dir; /* NULL: @NAME is an error that says so */
    /* For programs that need the rest but may not read keys: files of keys are not opened, and
     * without a credentials_dir @NAME stays as it is written. */
    bool without_keys;
};

/* A check that another room owns, called for each Kafka property: NULL, or why not (free()). */
typedef char *config_property_check_fn(int client, const char *name, const char *value);

/* Never NULL: what could be read. Every problem goes to `errors`, on a line of its own; when
 * there is one, the result serves to look for more of them and for nothing else: strings that
 * could not be parsed are NULL, numbers 0. */
struct config *config_gather(const struct config_sources *sources,
                             config_property_check_fn *check_property, struct buf *errors)
    __attribute__((warn_unused_result, returns_nonnull));
/* The same, but NULL when there is a problem. */
struct config *config_read(const struct config_sources *sources,
                           config_property_check_fn *check_property, struct buf *errors)
    __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. Cleanses secrets. */
struct config *config_free(struct config *config);

/* Where to look for a value, for messages: where its key was given, else its section, else the
 * main file. `argument` is a merchant's id, "" elsewhere. Borrowed. */
const char *config_where(const struct config *config, const char *section, const char *argument,
                         const char *key);

/* The keys whose change needs a restart and that differ, one "SECTION.KEY" a line; true when
 * there is any. */
bool config_needs_restart(const struct config *old, const struct config *new, struct buf *keys);

/* The sample file, every key with its default and its comment. */
void config_sample(struct buf *out);
/* The keys as manual page text (mdoc), for presignd.conf(5). */
void config_manual(struct buf *out);

#endif
