/* The table of facts, and how a fact reads. */
#include "presignd/ops/status.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IN(section, member) offsetof(struct status_##section, member)

/* A fact; one of the headlines, too; one that may be worth a look, by a rule; a word of which one
 * is good. */
#define FACT(k, l, t, at)                                     \
    {                                                         \
        .key = (k), .label = (l), .kind = (t), .offset = (at) \
    }
#define TOP(k, l, t, at)                                                        \
    {                                                                           \
        .key = (k), .label = (l), .kind = (t), .headline = true, .offset = (at) \
    }
#define LOOK(k, l, t, r, at)                                               \
    {                                                                      \
        .key = (k), .label = (l), .kind = (t), .rule = (r), .offset = (at) \
    }
#define WORD(k, l, at, g)                                                                 \
    {                                                                                     \
        .key = (k), .label = (l), .kind = STATUS_TEXT, .rule = RULE_WORD, .offset = (at), \
        .good = (g)                                                                       \
    }

static const struct status_field process_fields[] = {
    WORD("state", "state", IN(process, state), "ready"),
    FACT("ready", NULL, STATUS_FLAG, IN(process, ready)),
    FACT("instance", "instance", STATUS_TEXT, IN(process, instance)),
    FACT("version", "version", STATUS_TEXT, IN(process, version)),
    FACT("at", "as of", STATUS_TIME, IN(process, at_ms)),
    FACT("started", "started", STATUS_TIME, IN(process, started_ms)),
    TOP("uptime_seconds", "up for", STATUS_SPAN, IN(process, uptime_ms)),
    FACT("cluster", "Kafka cluster", STATUS_TEXT, IN(process, cluster)),
    FACT("group", "consumer group", STATUS_TEXT, IN(process, group)),
    FACT("requests_topic", "requests", STATUS_TEXT, IN(process, requests_topic)),
    FACT("results_topic", "results", STATUS_TEXT, IN(process, results_topic)),
    FACT("failures_topic", "failures", STATUS_TEXT, IN(process, failures_topic)),
};

static const struct status_field work_fields[] = {
    TOP("partitions", "partitions", STATUS_COUNT, IN(work, partitions)),
    TOP("lag_records", "records behind", STATUS_COUNT, IN(work, lag)),
    TOP("calls_in_flight", "calls in flight", STATUS_COUNT, IN(work, calls)),
    FACT("calls_max", "limit of calls in flight", STATUS_COUNT, IN(work, calls_max)),
    TOP("waiting", "waiting to be called", STATUS_COUNT, IN(work, waiting)),
    LOOK("held_endpoint", "held: endpoint down", STATUS_COUNT, RULE_MORE, IN(work, held_endpoint)),
    LOOK("held_merchants", "held: merchant answered 401", STATUS_COUNT, RULE_MORE,
         IN(work, held_merchants)),
    LOOK("held_unverified", "held: no key verifies answers", STATUS_COUNT, RULE_MORE,
         IN(work, held_unverified)),
    LOOK("held_limited", "held: merchant answered 429", STATUS_COUNT, RULE_MORE,
         IN(work, held_limited)),
    FACT("blocked", "blocked by an earlier event of their code", STATUS_COUNT, IN(work, blocked)),
    FACT("retry", "waiting for another attempt", STATUS_COUNT, IN(work, retry)),
    FACT("completed", "completed, not committed", STATUS_COUNT, IN(work, completed)),
    LOOK("refused", "outcome not taken by its topic", STATUS_COUNT, RULE_MORE, IN(work, refused)),
    FACT("signatures_waiting", "waiting for a signature", STATUS_COUNT, IN(work, signatures)),
    FACT("bytes", "memory of unfinished events", STATUS_BYTES, IN(work, bytes)),
    FACT("records", "records since the start", STATUS_COUNT, IN(work, records)),
    TOP("succeeded", "results since the start", STATUS_COUNT, IN(work, succeeded)),
    TOP("failed", "failures since the start", STATUS_COUNT, IN(work, failed)),
    LOOK("kafka_last_error", "last error of Kafka's client", STATUS_PROSE, RULE_GIVEN,
         IN(work, kafka_last_error)),
    LOOK("transaction_last_error", "last error of a transaction", STATUS_PROSE, RULE_GIVEN,
         IN(work, transaction_last_error)),
};

static const struct status_field reload_fields[] = {
    FACT("at", "last reload", STATUS_TIME, IN(reload, at_ms)),
    LOOK("applied", "applied", STATUS_FLAG, RULE_FLAG, IN(reload, applied)),
    LOOK("text", "what was wrong", STATUS_PROSE, RULE_GIVEN, IN(reload, text)),
};

static const struct status_field partition_fields[] = {
    FACT("id", "partition", STATUS_COUNT, IN(partition, id)),
    FACT("base_offset", "base offset", STATUS_COUNT, IN(partition, base_offset)),
    FACT("lag_records", "records behind", STATUS_COUNT, IN(partition, lag)),
    FACT("unfinished", "unfinished", STATUS_COUNT, IN(partition, unfinished)),
    FACT("window_offsets", "window", STATUS_COUNT, IN(partition, window_used)),
    FACT("still_seconds", "stands still for", STATUS_SPAN, IN(partition, still_ms)),
    FACT("oldest_state", "oldest event", STATUS_TEXT, IN(partition, oldest_state)),
    FACT("oldest_mchid", "its merchant", STATUS_TEXT, IN(partition, oldest_mchid)),
    LOOK("paused", "paused", STATUS_PROSE, RULE_GIVEN, IN(partition, paused)),
};

static const struct status_field merchant_fields[] = {
    FACT("mchid", "merchant", STATUS_TEXT, IN(merchant, mchid)),
    FACT("mode", "mode", STATUS_TEXT, IN(merchant, mode)),
    FACT("state", "state", STATUS_TEXT, IN(merchant, state)),
    FACT("calls_in_flight", "in flight", STATUS_COUNT, IN(merchant, calls)),
    FACT("calls_limit", "limit", STATUS_COUNT, IN(merchant, limit)),
    FACT("waiting", "waiting", STATUS_COUNT, IN(merchant, waiting)),
    FACT("rate_per_s", "rate limit /s", STATUS_COUNT, IN(merchant, rate_per_s)),
    LOOK("held_until", "held until", STATUS_TIME, RULE_GIVEN, IN(merchant, held_until_ms)),
    FACT("last_answer", "last answer", STATUS_TEXT, IN(merchant, last_answer)),
    FACT("last_answer_at", "at", STATUS_TIME, IN(merchant, last_answer_ms)),
};

static const struct status_field key_fields[] = {
    FACT("mchid", "merchant", STATUS_TEXT, IN(key, mchid)),
    FACT("kind", "kind", STATUS_TEXT, IN(key, kind)),
    FACT("id", "id or serial", STATUS_TEXT, IN(key, id)),
    LOOK("expires", "expires", STATUS_TIME, RULE_EXPIRY, IN(key, expires_ms)),
};

static const struct status_field host_fields[] = {
    FACT("name", "host", STATUS_TEXT, IN(host, name)),
    FACT("state", "state", STATUS_TEXT, IN(host, state)),
    LOOK("outages", "outages in a row", STATUS_COUNT, RULE_MORE, IN(host, outages)),
    FACT("last_answer_at", "last answer", STATUS_TIME, IN(host, lived_ms)),
};

static const struct status_field transaction_fields[] = {
    FACT("at", "ended", STATUS_TIME, IN(transaction, at_ms)),
    WORD("end", "how", IN(transaction, end), "committed"),
    FACT("outcomes", "outcomes", STATUS_COUNT, IN(transaction, outcomes)),
    FACT("duration_seconds", "took", STATUS_SPAN, IN(transaction, duration_ms)),
};

static const struct status_field failure_fields[] = {
    FACT("reason", "reason", STATUS_TEXT, IN(failure, reason)),
    FACT("count", "count", STATUS_COUNT, IN(failure, count)),
    FACT("last", "last", STATUS_TIME, IN(failure, last_ms)),
    FACT("advice", "what to do", STATUS_PROSE, IN(failure, advice)),
};

#define FIELDS(name) name##_fields, ARRAY_LENGTH(name##_fields)
#define ONE(name, title)                                                   \
    {                                                                      \
#name, title, NULL, FIELDS(name), offsetof(struct status, name), 0 \
    }
#define LIST(name, title, empty, item)                                    \
    {                                                                     \
#name, title, empty, FIELDS(item), offsetof(struct status, name), \
            sizeof(struct status_##item)                                  \
    }

const struct status_section status_sections[] = {
    ONE(process, "Process"),
    ONE(work, "Work"),
    ONE(reload, "Reload"),
    LIST(partitions, "Partitions", "None is assigned: this is a standby.", partition),
    LIST(merchants, "Merchants", "None is configured.", merchant),
    LIST(hosts, "WeChat Pay", "No host is configured.", host),
    LIST(failures, "Failures since the start", "None.", failure),
    LIST(transactions, "Last transactions", "None yet.", transaction),
    LIST(keys, "Keys that answers are verified with", "None.", key),
};
const size_t status_section_count = ARRAY_LENGTH(status_sections);

void status_deinit(struct status *status)
{
    for (size_t i = 0; i < status_section_count; i++) {
        if (status_sections[i].empty != NULL) {
            struct status_list *list = (void *)((char *)status + status_sections[i].offset);
            free(list->items);
            *list = (struct status_list){0};
        }
    }
}

static const struct status_list *list_of(const struct status_section *section,
                                         const struct status *status)
{
    return (const void *)((const char *)status + section->offset);
}

size_t status_count(const struct status_section *section, const struct status *status)
{
    return section->empty == NULL ? 1 : list_of(section, status)->count;
}

struct status_value status_value(const struct status_section *section,
                                 const struct status_field *field, const struct status *status,
                                 size_t index)
{
    assert(index < status_count(section, status));
    const char *item = section->empty == NULL ? (const char *)status + section->offset
                                              : (const char *)list_of(section, status)->items +
                                                    index * section->item_size;
    const void *member = item + field->offset;
    if (status_is_text(field)) {
        const char *text = *(const char *const *)member;
        return (struct status_value){.given = text != NULL, .text = text};
    }
    int64_t number = *(const int64_t *)member;
    return (struct status_value){.given = number != STATUS_NONE, .number = number};
}

/* --- for people --- */

#define NEAR_MS (INT64_C(12) * 3600 * 1000)
#define KIB     INT64_C(1024)

/* The two largest units: nobody reads the seconds of an uptime of days. */
static void put_span(struct buf *out, int64_t span_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}};
    span_ms = span_ms < 0 ? 0 : span_ms; /* clocks may be set */
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        int64_t whole = span_ms / units[i].ms;
        if (whole == 0 && i + 1 < ARRAY_LENGTH(units)) {
            continue;
        }
        buf_printf(out, "%" PRId64 " %s", whole, units[i].name);
        /* Milliseconds are of no use beside seconds but for short waits. */
        if (i < 3 && span_ms % units[i].ms >= units[i + 1].ms) {
            buf_printf(out, " %" PRId64 " %s", span_ms % units[i].ms / units[i + 1].ms,
                       units[i + 1].name);
        }
        return;
    }
}

/* Near times without their date: how far they are stands beside. */
static void put_time(struct buf *out, int64_t wall_ms, int64_t now_ms)
{
    char text[TEXT_TIME_SIZE];
    bool past = wall_ms < now_ms;
    int64_t far_ms = past ? now_ms - wall_ms : wall_ms - now_ms;
    bool near = far_ms > 0 && far_ms < NEAR_MS;
    text_time(text, wall_ms, false);
    buf_puts(out, near ? strchr(text, 'T') + 1 : text);
    if (far_ms > 0 && far_ms < 1000) {
        buf_puts(out, " (now)");
    } else if (far_ms > 0) {
        buf_puts(out, past ? " (" : " (in ");
        put_span(out, far_ms / 1000 * 1000);
        buf_puts(out, past ? " ago)" : ")");
    }
}

static void put_bytes(struct buf *out, int64_t bytes)
{
    if (bytes < KIB) {
        buf_printf(out, "%" PRId64 " B", bytes);
    } else if (bytes < KIB * KIB) {
        buf_printf(out, "%.1f KiB", (double)bytes / (double)KIB);
    } else {
        buf_printf(out, "%.1f MiB", (double)bytes / (double)(KIB * KIB));
    }
}

void status_text(struct buf *out, const struct status_field *field,
                 const struct status_value *value, int64_t now_ms)
{
    if (!value->given) {
        buf_puts(out, "-");
        return;
    }
    switch (field->kind) {
    case STATUS_TEXT:
    case STATUS_PROSE:
        buf_puts(out, value->text);
        break;
    case STATUS_COUNT:
        buf_printf(out, "%" PRId64, value->number);
        break;
    case STATUS_BYTES:
        put_bytes(out, value->number);
        break;
    case STATUS_FLAG:
        buf_puts(out, value->number != 0 ? "yes" : "no");
        break;
    case STATUS_TIME:
        put_time(out, value->number, now_ms);
        break;
    case STATUS_SPAN:
        put_span(out, value->number);
        break;
    }
}

enum status_tone status_tone(const struct status_field *field, const struct status_value *value,
                             int64_t now_ms)
{
    if (!value->given) {
        return TONE_PLAIN;
    }
    switch (field->rule) {
    case RULE_FLAG:
        return value->number != 0 ? TONE_GOOD : TONE_BAD;
    case RULE_WORD:
        return strcmp(value->text, field->good) == 0 ? TONE_GOOD : TONE_BAD;
    case RULE_GIVEN:
        return TONE_BAD;
    case RULE_MORE:
        return value->number > 0 ? TONE_BAD : TONE_PLAIN;
    case RULE_EXPIRY:
        return value->number <= now_ms                      ? TONE_BAD
               : value->number - now_ms <= STATUS_EXPIRY_MS ? TONE_WARN
                                                            : TONE_PLAIN;
    default:
        return TONE_PLAIN;
    }
}

/* --- for programs --- */

static void put_member(struct buf *out, const struct status_field *field,
                       const struct status_value *value)
{
    char text[TEXT_TIME_SIZE];
    AUTO_BUF struct buf seconds = {0};
    switch (field->kind) {
    case STATUS_TEXT:
    case STATUS_PROSE:
        buf_json_member(out, field->key, value->text);
        break;
    case STATUS_FLAG:
        buf_json_member_bool(out, field->key, value->number != 0);
        break;
    case STATUS_TIME:
        text_time(text, value->number, true);
        buf_json_member(out, field->key, text);
        break;
    case STATUS_SPAN:
        buf_printf(&seconds, "%" PRId64 ".%03d", value->number / 1000, (int)(value->number % 1000));
        buf_json_member_raw(out, field->key, seconds.data, seconds.len);
        break;
    default:
        buf_json_member_int(out, field->key, value->number);
    }
}

static void put_object(struct buf *out, const struct status_section *section,
                       const struct status *status, size_t index)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < section->field_count; i++) {
        struct status_value value = status_value(section, &section->fields[i], status, index);
        if (value.given) {
            put_member(out, &section->fields[i], &value);
        }
    }
    buf_putc(out, '}');
}

void status_json(const struct status *status, struct buf *out)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < status_section_count; i++) {
        const struct status_section *section = &status_sections[i];
        bool list = section->empty != NULL;
        buf_json_name(out, section->key);
        buf_puts(out, list ? "[" : "");
        for (size_t j = 0; j < status_count(section, status); j++) {
            buf_puts(out, j > 0 ? "," : "");
            put_object(out, section, status, j);
        }
        buf_puts(out, list ? "]" : "");
    }
    buf_puts(out, "}\n");
}
