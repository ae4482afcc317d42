/* A Kafka record as plain values; all pointers are borrowed. */
#ifndef PRESIGND_BASE_RECORD_H
#define PRESIGND_BASE_RECORD_H

#include <stddef.h>
#include <stdint.h>

/* `name` is NUL-ended (Kafka's client library cuts names at a NUL); `value` is NULL for null. */
struct record_header {
    const char *name;
    const void *value;
    size_t value_len;
};

struct record {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* since 1970; -1 when the record has none */
    const void *key;      /* NULL for null */
    size_t key_len;
    const void *value; /* NULL for null */
    size_t value_len;
    const struct record_header *headers;
    size_t header_count;
};

/* Key, value and headers (names and values) together, as `max_event_bytes` counts. */
size_t record_size(const struct record *record);

#endif
