#include "presignd/setup/rotation.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

#define KEY_1 "1111111111111111111111111111111111111111111111111111111111111111"
#define KEY_2 "2222222222222222222222222222222222222222222222222222222222222222"

/* One merchant, as a configuration gives it. */
struct bench {
    struct config config;
    struct config_origin origins[2];
    struct setup setup;
    struct rotation known;
    struct buf problems;
};

static struct merchants *merchants_of(const char *serial_no, const char *key_sha256)
{
    const struct merchant_spec spec = {.mchid = "5"};
    AUTO_FREE char *errors = NULL;
    struct merchant *merchant = merchant_new_keyless(&spec, &errors);
    cr_assert_not_null(merchant, "%s", errors);
    merchant->serial_no = mem_strdup(serial_no);
    memcpy(merchant->key_sha256, key_sha256, KEY_SHA256_SIZE);
    return merchants_new(&merchant, 1);
}

#define ORIGIN(name, where)                                                            \
    {                                                                                  \
        .section = (char *)"merchant", .argument = (char *)"5", .key = (char *)(name), \
        .text = (char *)(where)                                                        \
    }

static void bench_init(struct bench *bench)
{
    *bench = (struct bench){
        .origins = {ORIGIN("serial_no", "a:3"), ORIGIN("private_key", "a:4")},
        .config = {.path = (char *)"a", .origin_count = 2},
    };
    bench->config.origins = bench->origins;
    bench->setup.config = &bench->config;
    json_t *list =
        json_pack("[{s:s,s:s,s:s}]", "mchid", "5", "serial_no", "0A", "key_sha256", KEY_1);
    rotation_read(&bench->known, list);
    json_decref(list);
    cr_assert_eq(bench->known.count, 1);
}

static void bench_deinit(struct bench *bench)
{
    merchants_unref(bench->setup.merchants);
    rotation_deinit(&bench->known);
    buf_deinit(&bench->problems);
}
#define AUTO_BENCH __attribute__((cleanup(bench_deinit)))

static void configure(struct bench *bench, const char *serial_no, const char *key_sha256)
{
    merchants_unref(bench->setup.merchants);
    bench->setup.merchants = merchants_of(serial_no, key_sha256);
}

static bool check(struct bench *bench, const struct merchants *running)
{
    bench->problems.len = 0;
    return rotation_check(&bench->known, &bench->setup, running, &bench->problems);
}

Test(rotation, both_halves_change_or_none)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    configure(&bench, "0A", KEY_1);
    cr_assert(check(&bench, NULL));
    configure(&bench, "A", KEY_1); /* the same number */
    cr_assert(check(&bench, NULL));
    configure(&bench, "0B", KEY_2);
    cr_assert(check(&bench, NULL));
    rotation_discard(&bench.known, "5");
    configure(&bench, "0A", KEY_2);
    cr_assert(check(&bench, NULL));
}

Test(rotation, a_half_is_named_where_it_is_to_be_changed)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    configure(&bench, "0B", KEY_1);
    cr_assert_not(check(&bench, NULL));
    cr_assert_str_eq(
        bench.problems.data,
        "a:4: merchant 5: private_key: serial_no is new and private_key is the old one: "
        "give the new key as well; if the new certificate keeps the key, set certificate, which "
        "proves it\n");
    merchants_at(bench.setup.merchants, 0)->key_is_credential = true;
    cr_assert_not(check(&bench, NULL));
    cr_assert_not_null(strstr(bench.problems.data, ": a credential is read at a start only: "));
    configure(&bench, "0A", KEY_2);
    cr_assert_not(check(&bench, NULL));
    cr_assert_str_eq(bench.problems.data,
                     "a:3: merchant 5: serial_no: private_key is new and serial_no is the old one: "
                     "set the new certificate's serial_no, or certificate, which gives it\n");
}

Test(rotation, a_half_that_a_certificate_proves_is_taken_and_remembered)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    configure(&bench, "0B", KEY_1);
    merchants_at(bench.setup.merchants, 0)->certificate_not_after_ms = 1;
    cr_assert(check(&bench, NULL));
    cr_assert(rotation_update(&bench.known, bench.setup.merchants));
    cr_assert_not(bench.known.has_half);
    cr_assert_str_eq(bench.known.pairs[0].serial_no, "0B");
}

/* Tools spell a serial with or without the zero that fills its first byte. */
Test(rotation, a_serial_is_a_number)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    configure(&bench, "A", KEY_1);
    cr_assert(check(&bench, NULL), "%s", bench.problems.data);
    cr_assert_not(rotation_update(&bench.known, bench.setup.merchants));
    configure(&bench, "A", KEY_2);
    cr_assert_not(check(&bench, NULL));
    configure(&bench, "0B", KEY_1);
    struct merchants *running = merchants_of("B", KEY_1);
    cr_assert(check(&bench, running), "%s", bench.problems.data);
    merchants_unref(running);
}

/* A start only warns. Later reloads that change something else must not fail for it, and the
 * missing half can be added. */
Test(rotation, a_half_that_runs_is_not_refused_and_not_remembered)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    configure(&bench, "0B", KEY_1);
    struct merchants *running = merchants_of("0B", KEY_1);
    cr_assert(check(&bench, running));
    cr_assert_not(rotation_update(&bench.known, running));
    cr_assert_str_eq(bench.known.pairs[0].serial_no, "0A");
    configure(&bench, "0B", KEY_2);
    cr_assert(check(&bench, running));
    configure(&bench, "0C", KEY_1);
    cr_assert_not(check(&bench, running));
    merchants_unref(running);
}

Test(rotation, what_is_known_is_written_and_read)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    configure(&bench, "0B", KEY_2);
    cr_assert(rotation_update(&bench.known, bench.setup.merchants));
    cr_assert_not(rotation_update(&bench.known, bench.setup.merchants));
    AUTO_BUF struct buf text = {0};
    rotation_write(&bench.known, &text);
    cr_assert_str_eq(text.data,
                     "[{\"mchid\":\"5\",\"serial_no\":\"0B\",\"key_sha256\":\"" KEY_2 "\"}]");
    AUTO_JSON json_t *list = json_read(text.data, text.len, JSON_NESTING_MAX, 0, NULL);
    rotation_deinit(&bench.known);
    rotation_read(&bench.known, list);
    cr_assert_not(rotation_update(&bench.known, bench.setup.merchants));
}

Test(rotation, a_damaged_memory_is_no_memory)
{
    static const char *const texts[] = {
        "{}", "[1, null, {}]",
        "[{\"mchid\": \"5\", \"serial_no\": \"0A\", \"key_sha256\": \"short\"}]"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct rotation known = {0};
        AUTO_JSON json_t *list = json_read(texts[i], strlen(texts[i]), JSON_NESTING_MAX, 0, NULL);
        rotation_read(&known, list);
        cr_assert_eq(known.count, 0, "%s", texts[i]);
        rotation_deinit(&known);
    }
    struct rotation known = {0};
    rotation_read(&known, NULL);
    cr_assert_eq(known.count, 0);
}
