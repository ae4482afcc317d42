/* What admit and complete need: the schemas of the product, and merchants without keys. */
#ifndef TESTS_UNIT_FLOW_WORLD_H
#define TESTS_UNIT_FLOW_WORLD_H

#include "presignd/base/mem.h"
#include "presignd/flow/admit.h"

#include <criterion/criterion.h>
#include <string.h>

#define DIRECT  "1900007291"
#define PARTNER "1900007293"
#define APP     "wechatpay.presign.app.requested"

#define APP_DATA                                                                         \
    "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535,"                               \
    "\"out_contract_code\":\"wxwtdk20200910100000\","                                    \
    "\"contract_display_account\":\"\xe5\xbe\xae\xe4\xbf\xa1\xe4\xbb\xa3\xe6\x89\xa3\"," \
    "\"contract_notify_url\":\"https://yourapp.com/notify\"}"

struct world {
    struct schema_set *schemas;
    struct merchants *merchants;
    struct admit_rules rules;
};

static inline struct merchant *keyless(const char *mchid, enum merchant_mode mode, bool is_default)
{
    struct merchant *merchant = mem_zalloc(1, sizeof *merchant);
    merchant->mchid = mem_strdup(mchid);
    merchant->mode = mode;
    merchant->is_default = is_default;
    merchant->references = 1;
    return merchant;
}

static inline struct world world_with(struct merchant *const *merchants, size_t count)
{
    struct world world = {.schemas =
                              schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN)};
    char *error = NULL;
    cr_assert(schema_set_add_dir(world.schemas, PRESIGND_SOURCE_DIR "/schemas", &error));
    size_t endpoints;
    const struct endpoint *table = endpoint_table(&endpoints);
    for (size_t i = 0; i < endpoints; i++) {
        AUTO_FREE char *uri = mem_printf(SCHEMA_BASE "%s.request.json", table[i].name);
        world.rules.requests[i] = schema_compile(world.schemas, uri, &error);
        cr_assert_not_null(world.rules.requests[i]);
    }
    world.merchants = merchants_new(merchants, count);
    world.rules.merchants = world.merchants;
    world.rules.event_bytes_max = 65536;
    return world;
}

static inline struct world world_new(void)
{
    struct merchant *merchants[] = {keyless(DIRECT, MODE_DIRECT, false),
                                    keyless(PARTNER, MODE_PARTNER, false)};
    return world_with(merchants, 2);
}

static inline void world_deinit(struct world *world)
{
    merchants_unref(world->merchants);
    schema_set_free(world->schemas);
}
#define AUTO_WORLD __attribute__((cleanup(world_deinit)))

/* A structured event. `attributes`: further members, each followed by a comma. The caller frees the
 * text. */
static inline struct record record_of(const char *type, const char *attributes, const char *data)
{
    char *value = mem_printf("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/orders\","
                             "\"type\":\"%s\",%s\"data\":%s}",
                             type, attributes, data);
    return (struct record){.topic = "presign.requests",
                           .partition = 3,
                           .offset = 41,
                           .timestamp_ms = 1000,
                           .key = "k",
                           .key_len = 1,
                           .value = value,
                           .value_len = strlen(value)};
}

#endif
