#include "fuzz.h"

#include "presignd/base/mem.h"

#include <string.h>

#define BROKER_MESSAGE_MAX 1048588 /* message.max.bytes, by default */

const struct complete_identity fuzz_identity = {
    .cluster_id = "c", .group_id = "g", .failure_original = true};

/* Only strings get a NUL: sanitizers see overreads of other blocks. */
static char *block(const uint8_t *bytes, size_t len, bool string)
{
    char *copy = mem_alloc(len + string);
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    if (string) {
        copy[len] = '\0';
    }
    return copy;
}

/* Cuts names at a NUL, as Kafka's client does. */
static void read_line(struct fuzz_message *message, const uint8_t *line, size_t len)
{
    const uint8_t *colon = memmem(line, len, ": ", 2);
    size_t name_len = colon == NULL ? len : (size_t)(colon - line);
    struct record_header *header = &message->headers[message->header_count++];
    header->name = block(line, name_len, true);
    if (colon != NULL) {
        header->value_len = len - name_len - 2;
        header->value = block(colon + 2, header->value_len, false);
    }
}

void fuzz_message_read(struct fuzz_message *message, const uint8_t *data, size_t size)
{
    *message = (struct fuzz_message){0};
    const uint8_t *end = data + size, *at = data;
    const uint8_t *empty = size > 0 && *data == '\n' ? data : memmem(data, size, "\n\n", 2);
    while (empty != NULL && at < end && *at != '\n' && message->header_count < FUZZ_HEADERS_MAX) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        read_line(message, at, (size_t)(line_end - at));
        at = line_end + 1;
    }
    at += empty != NULL && at < end && *at == '\n';
    message->body_len = (size_t)(end - at);
    message->body = block(at, message->body_len, false);
}

void fuzz_message_deinit(struct fuzz_message *message)
{
    for (size_t i = 0; i < message->header_count; i++) {
        free((void *)message->headers[i].name);
        free((void *)message->headers[i].value);
    }
    free(message->body);
}

const char *fuzz_message_header(const struct fuzz_message *message, const char *name)
{
    for (size_t i = 0; i < message->header_count; i++) {
        struct record_header *header = (struct record_header *)&message->headers[i];
        if (strcmp(header->name, name) == 0 && header->value != NULL) {
            /* A string ends at its NUL. */
            char *string = block(header->value, header->value_len, true);
            free((void *)header->value);
            header->value = string;
            return string;
        }
    }
    return NULL;
}

static struct merchant *keyless(const char *mchid, enum merchant_mode mode)
{
    char *error = NULL;
    struct merchant_spec spec = {.mchid = mchid, .mode = mode, .max_in_flight = 1};
    struct merchant *merchant = merchant_new_keyless(&spec, &error);
    PROMISE(merchant != NULL);
    return merchant;
}

static struct schema_set *schemas(void)
{
    static struct schema_set *set;
    if (set == NULL) {
        char *error = NULL;
        set = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
        PROMISE(schema_set_add_dir(set, PRESIGND_SOURCE_DIR "/schemas", &error));
    }
    return set;
}

const struct schema *fuzz_schema(const char *name)
{
    char *error = NULL;
    AUTO_FREE char *uri = mem_printf(SCHEMA_BASE "%s", name);
    const struct schema *schema = schema_compile(schemas(), uri, &error);
    PROMISE(schema != NULL);
    return schema;
}

const struct admit_rules *fuzz_rules(void)
{
    static struct admit_rules rules;
    if (rules.merchants == NULL) {
        size_t count;
        const struct endpoint *endpoints = endpoint_table(&count);
        for (size_t i = 0; i < count; i++) {
            AUTO_FREE char *name = mem_printf("%s.request.json", endpoints[i].name);
            rules.requests[i] = fuzz_schema(name);
        }
        struct merchant *const merchants[] = {keyless("1900007291", MODE_DIRECT),
                                              keyless("1900000109", MODE_PARTNER)};
        rules.merchants = merchants_new(merchants, ARRAY_LENGTH(merchants));
        rules.event_bytes_max = 65536;
    }
    return &rules;
}

void fuzz_expect_outcome(const struct job *job)
{
    static const struct schema *result, *failure;
    if (result == NULL) {
        result = fuzz_schema("result.json");
        failure = fuzz_schema("failure.json");
    }
    const struct outcome_bytes *outcome = &job->outcome;
    PROMISE(outcome->value.len < BROKER_MESSAGE_MAX);
    json_t *value = outcome_read(outcome->value.data, outcome->value.len);
    PROMISE(value != NULL);
    struct violations violations = {0};
    if (!schema_validate(job->reason == REASON_NONE ? result : failure, value, &violations)) {
        fprintf(stderr, "%.*s\n%s %s: %s\n", (int)outcome->value.len, outcome->value.data,
                violations.items[0].instance_location, violations.items[0].keyword_location,
                violations.items[0].error);
        abort();
    }
    json_decref(value);
}
