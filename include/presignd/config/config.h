/* A configuration: what config/read.h gathers from its sources. */
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

/* struct config_daemon, config_endpoint, config_retry, config_merchant: a field for each key.
 * @NAME is resolved: a path is $CREDENTIALS_DIRECTORY/NAME. apiv3_key is the key's 32 bytes,
 * without_keys the text as it is, or
 * "". platform_certificates is "off", "auto", or paths parted by commas. */
#define SECTION(section)            struct config_##section {
#define ARGUMENT(section, field)    char *field;
#define TEXT(section, key, ...)     char *key;
#define EXAMPLE(section, key, ...)  char *key;
#define NUMBER(section, key, ...)   int64_t key;
#define FLAG(section, field, ...)   bool field;
#define CHOICE(section, field, ...) bool field;
#define END                         }
#include "presignd/config/keys.h"

/* client: as enum kafka_client of kafka/properties.h (0 both, 1 consumer, 2 producer). */
struct config_property {
    int client;
    char *name;
    char *value;  /* @NAME is resolved to the credential's content without its last newline */
    char *origin; /* FILE:LINE or --set SECTION.KEY; NULL: the default */
};

/* Where a key was given, or a section (`key` is empty). */
struct config_origin {
    char *section;
    char *argument; /* a merchant's id, else "" */
    char *key;
    char *text; /* FILE:LINE or --set SECTION.KEY */
};

struct config {
    struct config_daemon daemon;
    struct config_endpoint endpoint;
    struct config_retry retry;
    struct config_property *properties;
    size_t property_count;
    struct config_merchant *merchants;
    size_t merchant_count;
    char *path; /* of the main file */
    struct config_origin *origins;
    size_t origin_count;
    char *warnings;       /* of the files' text, one line each; NULL: none */
    bool files_lack;      /* a file could not be read: missing keys may be in it */
    bool properties_lack; /* wrong properties were left out: the others may contradict each other */
};

struct config_sources {
    const char *path; /* NULL: CONFIG_DEFAULT_PATH */
    /* SECTION.KEY=VALUE each. A section may contain a space ("merchant 1900007291.mode=direct"),
     * a key of [kafka] may contain points ("kafka.bootstrap.servers=..."). */
    const char *const *sets;
    size_t set_count;
    const char *credentials_dir; /* NULL: @NAME is an error */
    /* What `auto` means: $RUNTIME_DIRECTORY and $STATE_DIRECTORY of systemd.exec(5). NULL: none. */
    const char *runtime_dir, *state_dir;
    /* For programs that may not read keys: key files are not opened, and without a
     * credentials_dir @NAME stays as it is. */
    bool without_keys;
    /* Gets the path of each credential that another key than private_key names, a line each. NULL:
     * not asked for. */
    struct buf *named;
};

#endif
