/* The daemon's facts at one moment. The page /status, the document /status.json and `presignctl
 * status` show the same facts under the same names, from one table. To add a fact: a row in
 * ops/status_rows.h, and the value in src/daemon/snapshot.c. Pure. */
#ifndef PRESIGND_OPS_STATUS_H
#define PRESIGND_OPS_STATUS_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Transactions that are kept for the page. */
#define STATUS_TRANSACTIONS_MAX 8

/* For numbers and times that are not known; such a text is NULL. They are left out. */
#define STATUS_NONE INT64_MIN

struct status_list {
    void *items; /* free() */
    size_t count;
};

#define SECTION(section)          struct status_##section {
#define TEXT(section, name, ...)  const char *name;
#define PROSE(section, name, ...) const char *name;
#define COUNT(section, name, ...) int64_t name;
#define BYTES(section, name, ...) int64_t name;
#define FLAG(section, name, ...)  int64_t name;
#define TIME(section, name, ...)  int64_t name##_ms;
#define SPAN(section, name, ...)  int64_t name##_ms;
#define HIDDEN(section, name)     int64_t name;
#define END                       }
#include "presignd/ops/status_rows.h"

struct status {
    struct status_list attention; /* struct status_attention, the worst first */
    struct status_process process;
    struct status_work work;
    struct status_reload reload;
    struct status_kafka kafka;
    struct status_list reload_errors; /* struct status_reload_error */
    struct status_list pauses;        /* struct status_pause */
    struct status_list preflight;     /* struct status_preflight */
    struct status_list partitions;    /* struct status_partition */
    struct status_list merchants;     /* struct status_merchant */
    struct status_list keys;          /* struct status_key */
    struct status_list hosts;         /* struct status_host */
    struct status_list transactions;  /* struct status_transaction, newest first */
    struct status_list failures;      /* struct status_failure, newest first */
};

/* Frees the lists. */
void status_deinit(struct status *status);

/* --- the table --- */

enum status_kind {
    STATUS_TEXT,
    STATUS_PROSE, /* text of several words */
    STATUS_COUNT,
    STATUS_BYTES,
    STATUS_FLAG,
    STATUS_TIME, /* milliseconds since 1970; in JSON RFC 3339 */
    STATUS_SPAN, /* milliseconds; in JSON seconds */
};

/* When a value is highlighted on the page and on the terminal. */
enum status_rule {
    RULE_PLAIN,
    RULE_BAD_IF_NO, /* and good if yes */
    RULE_BAD_UNLESS,
    RULE_WARN_UNLESS,
    RULE_BAD_IF_SET,
    RULE_BAD_ABOVE_0,
    RULE_BAD_WHEN_PAST,
};
enum status_tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD };

/* Where a fact of a single structure is shown. No place shows what another one shows. */
enum status_display {
    DISPLAY_TABLE,     /* in its section's table */
    DISPLAY_TILE,      /* at the top, in large figures */
    DISPLAY_TITLE,     /* in the first line */
    DISPLAY_ATTENTION, /* a row of `attention` tells it */
};

/* Time before RULE_BAD_WHEN_PAST during which it warns. */
#define STATUS_EXPIRY_MS (INT64_C(30) * 24 * 3600 * 1000)

#define STATUS_FIELDS_MAX 32
/* Rows in trouble that a folded list shows. */
#define STATUS_OPEN_ROWS_MAX 12

struct status_field {
    const char *key;   /* in JSON */
    const char *label; /* for people; NULL: only for programs */
    enum status_kind kind;
    enum status_rule rule;
    enum status_display display;
    size_t offset;    /* in its section's structure: a const char * or an int64_t */
    const char *good; /* RULE_…_UNLESS: the good word */
};

struct status_section {
    const char *key, *title;
    const char *empty; /* text for an empty list, "": then the section is not shown; NULL: a single
                        * structure, not a list */
    size_t open_max;   /* a list with more rows is folded: only rows in trouble are open */
    const struct status_field *fields;
    size_t field_count;
    size_t offset;    /* in struct status: of the structure, or of its struct status_list */
    size_t item_size; /* of a list's structure */
};

extern const struct status_section status_sections[];
extern const size_t status_section_count;

/* A value, from a structure or from JSON. */
struct status_value {
    bool given;
    const char *text;
    int64_t number; /* of all kinds but text and prose */
};

static inline bool status_is_text(const struct status_field *field)
{
    return field->kind == STATUS_TEXT || field->kind == STATUS_PROSE;
}

/* The number of items: a list's count, or 1. */
size_t status_count(const struct status_section *section, const struct status *status);
struct status_value status_value(const struct status_section *section,
                                 const struct status_field *field, const struct status *status,
                                 size_t index);

/* Whether the field is a column of its section's table, or a row of its single structure. */
static inline bool status_in_table(const struct status_field *field)
{
    return field->label != NULL && field->display == DISPLAY_TABLE;
}

/* The value for people, "-" if it is not known. `now_ms` is the moment of the status. Not
 * escaped. */
void status_text(struct buf *out, const struct status_field *field,
                 const struct status_value *value, int64_t now_ms);
enum status_tone status_tone(const struct status_field *field, const struct status_value *value,
                             int64_t now_ms);

/* One object with a member for each section. */
void status_json(const struct status *status, struct buf *out);
/* A whole page without scripts or external resources. All texts are escaped. `all`: nothing is
 * folded, and the page does not load itself again. */
void status_html(const struct status *status, bool all, struct buf *out);
/* The page's style sheet. */
extern const char status_style[];

#endif
