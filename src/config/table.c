#include "config/table.h"

#include "presignd/base/mem.h"
#include "presignd/base/nearest.h"

#include <string.h>

#define DAY_MS (24LL * 3600 * 1000)

#define COUNT NULL
#define BYTES "bytes"
#define MS    "milliseconds"
#define PER_S "calls a second"

#define KEY(key, value_type, text, example, needs, about)                                          \
    .name = (key), .type = &config_type_##value_type, .default_text = (text), .sample = (example), \
    .change = CONFIG_##needs, .help = (about)
#define AT(section, field) .offset = offsetof(struct config_##section, field)

#define SECTION(section) static const struct config_key section##_keys[] = {
#define ARGUMENT(section, field)
#define TEXT(section, key, type, text, needs, about) \
    {KEY(#key, type, text, text, needs, about), AT(section, key)},
#define EXAMPLE(section, key, type, example, needs, about) \
    {KEY(#key, type, "", example, needs, about), AT(section, key)},
#define NUMBER(section, key, of, text, least, most, needs, about)                              \
    {KEY(#key, int, text, text, needs, about), AT(section, key), .unit = (of), .min = (least), \
     .max = (most)},
#define FLAG(section, field, key, type, text, needs, about) \
    {KEY(key, type, text, text, needs, about), AT(section, field)},
#define CHOICE(section, field, key, type, example, needs, about) \
    {KEY(key, type, "", example, needs, about), AT(section, field)},
#define END }
#include "presignd/config/keys.h"

#define PROPERTY(key, text, about)                     \
    {                                                  \
        KEY(key, property, text, text, RESTART, about) \
    }

static const struct config_key kafka_keys[] = {
    PROPERTY("bootstrap.servers", "127.0.0.1:9092",
             "Brokers to begin with, HOST:PORT, comma separated."),
    PROPERTY("group.id", "presignd", "Consumer group of all processes that share the work."),
};

#define ROW(section, what, rest, about)                                 \
    {                                                                   \
        .name = (section), .kind = CONFIG_##what, .help = (about), rest \
    }
#define KEYS(section, sample) \
    .keys = section##_keys, .key_count = ARRAY_LENGTH(section##_keys), .heading = (sample)
#define PART(section) .offset = offsetof(struct config, section), KEYS(section, #section)
#define BOTH_CLIENTS  .client = 0, KEYS(kafka, "kafka")
#define CONSUMER      .client = 1
#define PRODUCER      .client = 2

const struct config_section config_sections[] = {
    ROW("daemon", PLAIN, PART(daemon), "The process and its topics."),
    ROW("kafka", KAFKA, BOTH_CLIENTS,
        "Any librdkafka property. [kafka.consumer] and [kafka.producer] are for one client each."),
    ROW("kafka.consumer", KAFKA, CONSUMER,
        "Properties of the consumer only. auto.offset.reset is earliest unless set."),
    ROW("kafka.producer", KAFKA, PRODUCER, "Properties of the producer only."),
    ROW("endpoint", PLAIN, PART(endpoint), "The hosts of WeChat Pay and how to reach them."),
    ROW("retry", PLAIN, PART(retry), "When a call is made again."),
    ROW("merchant", MERCHANT, KEYS(merchant, "merchant 1900007291"),
        "One section for each merchant that signs. @NAME is a credential of the service."),
};
const size_t config_section_count = ARRAY_LENGTH(config_sections);

const struct config_section *config_section_find(const char *heading, const char **argument)
{
    *argument = NULL;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        size_t len = strlen(section->name);
        bool named = strncmp(heading, section->name, len) == 0;
        if (section->kind != CONFIG_MERCHANT && named && heading[len] == '\0') {
            return section;
        }
        if (section->kind == CONFIG_MERCHANT && named &&
            (heading[len] == '\0' || strchr(" \t", heading[len]) != NULL)) {
            *argument = heading + len + strspn(heading + len, " \t");
            return section;
        }
    }
    return NULL;
}

const struct config_key *config_key_find(const struct config_section *section, const char *name)
{
    for (size_t i = 0; i < section->key_count; i++) {
        if (strcmp(section->keys[i].name, name) == 0) {
            return &section->keys[i];
        }
    }
    return NULL;
}

const struct config_section *config_section_with(const char *name)
{
    for (size_t i = 0; i < config_section_count; i++) {
        if (config_key_find(&config_sections[i], name) != NULL) {
            return &config_sections[i];
        }
    }
    return NULL;
}

/* A suggestion may differ in a third of the letters. */
static struct nearest nearest_to(const char *name)
{
    return (struct nearest){.name = name, .limit = strlen(name) / 3 + 2};
}

const char *config_section_nearest(const char *heading)
{
    struct nearest nearest = nearest_to(heading);
    for (size_t i = 0; i < config_section_count; i++) {
        nearest_consider(&nearest, config_sections[i].name);
    }
    return nearest.found;
}

const char *config_key_nearest(const struct config_section *section, const char *name)
{
    struct nearest nearest = nearest_to(name);
    for (size_t i = 0; i < section->key_count; i++) {
        nearest_consider(&nearest, section->keys[i].name);
    }
    return nearest.found;
}
