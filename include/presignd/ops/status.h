/* What the daemon knows of itself at one moment, for people and programs: `struct status`, and
 * one table that names each of its facts.
 *
 * From the table come the page /status, the document /status.json and `presignctl status`, so
 * that all three hold the same facts under the same names. To add a fact: a member here, a row
 * in src/ops/status.c, its value in src/daemon/snapshot.c. Pure.
 */
#ifndef PRESIGND_OPS_STATUS_H
#define PRESIGND_OPS_STATUS_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Transactions that are kept for the page. */
#define STATUS_TRANSACTIONS_MAX 8

/* In these structures a text may be NULL, a number or time STATUS_NONE: not known, and left
 * out. Times are wall clock, in milliseconds since 1970. No text is an event's. */
#define STATUS_NONE INT64_MIN

struct status_list {
    void *items; /* free() */
    size_t count;
};

struct status_partition {
    int64_t id, base_offset, lag, unfinished, window_used;
    int64_t still_ms;         /* since its base offset moved, with unfinished events */
    const char *oldest_state; /* of the event at the base offset: what keeps it */
    const char *oldest_mchid; /* whose it is */
    int64_t full;             /* the window is */
    const char *paused;       /* why it is not read; NULL: it is */
};

struct status_merchant {
    const char *mchid, *mode;
    const char *state; /* open | paced | held | broken */
    int64_t held;      /* by 401 or by answers that no key verifies */
    int64_t calls, limit, waiting, rate_per_s;
    int64_t held_until_ms;
    const char *last_answer; /* the last answer's kind */
    int64_t last_answer_ms;
};

/* What answers are verified with. */
struct status_key {
    const char *mchid, *id;
    const char *kind; /* public key | certificate */
    int64_t expires_ms;
};

struct status_host {
    const char *name, *state;
    int64_t outages, lived_ms;
};

struct status_transaction {
    int64_t at_ms, outcomes, duration_ms;
    const char *end;
};

struct status_failure {
    const char *reason;
    int64_t count, last_ms;
    const char *advice;
};

struct status_process {
    int64_t ready;
    const char *state; /* "ready", or why not */
    const char *instance, *version;
    int64_t at_ms, started_ms, uptime_ms;
    const char *cluster, *group, *requests_topic, *results_topic, *failures_topic;
};

struct status_work {
    int64_t partitions, lag;
    int64_t calls, calls_max, waiting, blocked, retry, completed, refused;
    int64_t held_endpoint, held_merchants, held_unverified, held_limited, signatures, bytes;
    int64_t records, succeeded, failed;
    const char *kafka_last_error, *transaction_last_error;
};

struct status_reload {
    int64_t at_ms, applied;
    const char *text; /* the first line of what was wrong */
};

struct status {
    struct status_process process;
    struct status_work work;
    struct status_reload reload;
    struct status_list partitions;   /* struct status_partition */
    struct status_list merchants;    /* struct status_merchant */
    struct status_list keys;         /* struct status_key */
    struct status_list hosts;        /* struct status_host */
    struct status_list transactions; /* struct status_transaction, newest first */
    struct status_list failures;     /* struct status_failure, newest first */
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

/* When a value is worth a look: the page and the terminal colour it. */
enum status_rule {
    RULE_NONE,
    RULE_FLAG,   /* yes is good, no is bad */
    RULE_WORD,   /* any other word than `good` is bad */
    RULE_GIVEN,  /* that it is there at all is bad */
    RULE_MORE,   /* anything above 0 is bad */
    RULE_EXPIRY, /* a time that is near or past */
};
enum status_tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD };

/* A certificate that expires within so long is worth a look. */
#define STATUS_EXPIRY_MS (INT64_C(30) * 24 * 3600 * 1000)

struct status_field {
    const char *key;   /* in JSON */
    const char *label; /* for people; NULL: only for programs */
    enum status_kind kind;
    enum status_rule rule;
    bool headline; /* stands at the top of the page as well */
    size_t offset; /* in its section's structure: a const char * or an int64_t */
    const char *good;
};

struct status_section {
    const char *key, *title;
    const char *empty; /* what is said of an empty list; NULL: a single one, no list */
    const struct status_field *fields;
    size_t field_count;
    size_t offset;    /* in struct status: of the structure, or of its struct status_list */
    size_t item_size; /* of a list's structure */
};

extern const struct status_section status_sections[];
extern const size_t status_section_count;

/* A value, from the structure or from JSON. */
struct status_value {
    bool given;
    const char *text;
    int64_t number; /* of all kinds but text and prose */
};

static inline bool status_is_text(const struct status_field *field)
{
    return field->kind == STATUS_TEXT || field->kind == STATUS_PROSE;
}

/* How many items the section has: a list's count, or 1. */
size_t status_count(const struct status_section *section, const struct status *status);
struct status_value status_value(const struct status_section *section,
                                 const struct status_field *field, const struct status *status,
                                 size_t index);

/* The value as people read it, "-" for one that is not given; `now_ms` is the moment that the
 * status is of. Not escaped. */
void status_text(struct buf *out, const struct status_field *field,
                 const struct status_value *value, int64_t now_ms);
enum status_tone status_tone(const struct status_field *field, const struct status_value *value,
                             int64_t now_ms);

/* One object with a member for each section. */
void status_json(const struct status *status, struct buf *out);
/* A whole page: no script, nothing loaded from elsewhere. Everything is escaped. */
void status_html(const struct status *status, struct buf *out);

#endif
