/* Reads the configuration: FILE, then the *.conf files of FILE.d in name order (INI, by libinih),
 * then the
 * --set arguments; a later source overrides an earlier one. Reports all problems at once, with
 * file and line. Blocks while it reads files. */
#ifndef PRESIGND_CONFIG_READ_H
#define PRESIGND_CONFIG_READ_H

#include "presignd/base/buf.h"
#include "presignd/config/config.h"

/* Checks a Kafka property in the caller's stead: NULL, or what is wrong with it (free()). */
typedef char *config_property_check_fn(int client, const char *name, const char *value);

/* Never NULL. Appends each problem to `errors`, one line each. With problems, the result is good
 * only for finding more of them: strings that could not be parsed are NULL, numbers 0. */
struct config *config_gather(const struct config_sources *sources,
                             config_property_check_fn *check_property, struct buf *errors)
    __attribute__((warn_unused_result, returns_nonnull));
/* As config_gather(), but NULL when there is a problem. */
struct config *config_read(const struct config_sources *sources,
                           config_property_check_fn *check_property, struct buf *errors)
    __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. Overwrites secrets. */
struct config *config_free(struct config *config);

/* The origin of a value, for messages: of its key if given, else of its section, else the main
 * file. `argument` is a merchant's id, "" for other sections. Borrowed. */
const char *config_origin(const struct config *config, const char *section, const char *argument,
                          const char *key);

/* Appends the changed keys that need a restart, SECTION.KEY on a line each. True if any. */
bool config_needs_restart(const struct config *old, const struct config *new, struct buf *keys);

#endif
