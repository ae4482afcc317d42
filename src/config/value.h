/* The types of values: what a key's text may be, and how it becomes a field. */
#ifndef PRESIGND_CONFIG_VALUE_H
#define PRESIGND_CONFIG_VALUE_H

#include "presignd/config/config.h"

struct config_key;

/* Sets the field (a string is the caller's to free with config_cleanse()). Returns NULL, or what
 * is wrong with the value, to follow the key's name (free()). Never quotes a possible secret. */
typedef char *config_parse_fn(const struct config_key *key, const char *text,
                              const struct config_sources *sources, void *field);

enum config_store { CONFIG_STORE_STRING, CONFIG_STORE_INT, CONFIG_STORE_BOOL };

struct config_type {
    const char *form; /* for the manual; NULL: the manual gives the range */
    enum config_store store;
    config_parse_fn *parse;
};

enum config_change { CONFIG_RELOAD, CONFIG_REQUIRED, CONFIG_RESTART };

struct config_key {
    const char *name;
    const struct config_type *type;
    size_t offset;            /* in the section's structure */
    const char *default_text; /* "" for none */
    int64_t min, max;         /* of integers */
    const char *unit;         /* of integers, for the manual; NULL: a count */
    enum config_change change;
    const char *sample; /* the value in the sample file */
    const char *help;   /* one line */
};

extern const struct config_type config_type_instance, config_type_topic, config_type_paths,
    config_type_path, config_type_private_key, config_type_flag, config_type_mode,
    config_type_delivery, config_type_sign_backend, config_type_int, config_type_url,
    config_type_proxy, config_type_listen, config_type_serial, config_type_key_id,
    config_type_apiv3_key, config_type_certificates, config_type_control_socket,
    config_type_state_dir, config_type_property;

/* Reads a file of at most `max` bytes; `*content` gets a NUL that `len` does not count. Returns
 * NULL, or what went wrong (free()). The caller overwrites and frees the content. */
char *config_slurp(const char *path, size_t max, char **content, size_t *len)
    __attribute__((warn_unused_result));
/* `%H` in `text` becomes the host's name and `%%` a percent sign, as systemd does it. Returns NULL
 * and sets `*expanded` (free()), or what is wrong: also a host name that hosts without a name share
 * (empty, localhost, localhost.*, (none)) and a result that is no instance's name. Pure. */
char *config_expand_instance(const char *text, const char *host, char **expanded)
    __attribute__((warn_unused_result));
/* Overwrites a string and frees it. Accepts NULL. */
void config_cleanse(char *string);

#endif
