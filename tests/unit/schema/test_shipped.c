/* The shipped schemas, loaded as the daemon does. */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/schema/schema.h"
#include "presignd/wechatpay/endpoint.h"

#include "unit/schema/shipped.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDE_EMOJI "\\ud83d\\ude00"

TestSuite(schemas, .init = load_set, .fini = free_set);

static const struct schema *compile(const char *name, const char *kind)
{
    AUTO_FREE char *uri = mem_printf("%s%s%s.json", SCHEMA_BASE, name, kind);
    AUTO_FREE char *error = NULL;
    const struct schema *schema = schema_compile(set, uri, &error);
    cr_assert_not_null(schema, "%s", error);
    return schema;
}

static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &error);
    cr_assert_not_null(value, "%s: %s", text, error.text);
    return value;
}

static json_t *load_file(const char *name, const char *kind)
{
    AUTO_FREE char *path = mem_printf("%s/%s%s.json", DIR_SCHEMAS, name, kind);
    json_t *document = json_load_file(path, 0, NULL);
    cr_assert_not_null(document, "%s", path);
    return document;
}

/* The first example of a shipped schema. */
static json_t *example(const char *name, const char *kind)
{
    json_t *document = load_file(name, kind);
    json_t *first = json_deep_copy(json_array_get(json_object_get(document, "examples"), 0));
    cr_assert_not_null(first, "%s%s has no example", name, kind);
    json_decref(document);
    return first;
}

/* "INSTANCE KEYWORD ERROR" of each violation, separated by "; ". free(). */
static char *judge(const struct schema *schema, const json_t *instance)
{
    struct violations found = {0};
    AUTO_BUF struct buf text = {0};
    buf_reserve(&text, 0);
    cr_assert_eq(schema_validate(schema, instance, &found), found.total == 0);
    for (size_t i = 0; i < found.count; i++) {
        buf_printf(&text, "%s%s %s %s", i == 0 ? "" : "; ", found.items[i].instance_location,
                   found.items[i].keyword_location, found.items[i].error);
    }
    violations_deinit(&found);
    return buf_take(&text);
}

static void expect(const char *endpoint, const json_t *instance, const char *violations)
{
    AUTO_FREE char *found = judge(compile(endpoint, ".request"), instance);
    AUTO_FREE char *text = json_dumps(instance, JSON_COMPACT);
    cr_expect_str_eq(found, violations, "%s: %s gives\n  %s\ninstead of\n  %s", endpoint, text,
                     found, violations);
}

/* Sets the value at a path of names separated by '/'; NULL removes it. */
static void change(json_t *instance, const char *path, const char *value)
{
    AUTO_FREE char *copy = mem_strdup(path);
    char *rest = copy;
    char *name = strsep(&rest, "/");
    for (; rest != NULL; name = strsep(&rest, "/")) {
        instance = json_object_get(instance, name);
    }
    cr_assert_eq(value == NULL ? json_object_del(instance, name)
                               : json_object_set_new(instance, name, parse(value)),
                 0, "%s", path);
}

static bool lists(const char *names, const char *name)
{
    AUTO_FREE char *padded = mem_printf(" %s ", names);
    AUTO_FREE char *sought = mem_printf(" %s ", name);
    return strstr(padded, sought) != NULL;
}

/* ---- The members of each endpoint ---- */

#define REST     "plan_id out_contract_code contract_display_account contract_notify_url"
#define OPTIONAL "out_user_code deduct_schedule"

static const struct {
    const char *name, *required, *optional;
} members[] = {
    {"app", "appid " REST, "openid " OPTIONAL},
    {"mini-program", "appid openid " REST, OPTIONAL},
    {"h5", "appid " REST, "openid jump_control " OPTIONAL},
    {"jsapi", "appid openid " REST, OPTIONAL},
    {"partner-app", "sp_appid sub_mchid " REST, "sp_openid sub_appid sub_openid " OPTIONAL},
    {"partner-mini-program", "sp_appid sub_mchid " REST,
     "sp_openid sub_appid sub_openid " OPTIONAL},
    {"partner-h5", "sp_appid sub_mchid " REST,
     "sp_openid sub_appid sub_openid jump_control " OPTIONAL},
    {"partner-jsapi", "sp_appid sub_mchid " REST, "sp_openid sub_appid sub_openid " OPTIONAL},
};

static const char *type_of(const char *name)
{
    return lists("deduct_schedule jump_control", name) ? "an object"
           : strcmp(name, "plan_id") == 0              ? "an integer"
                                                       : "a string";
}

/* Files that have no examples: other schemas refer to their parts. */
static bool is_part(const char *stem)
{
    return strcmp(stem, "common") == 0 || strcmp(stem, "names") == 0;
}

Test(schemas, every_file_compiles_and_accepts_its_examples)
{
    DIR *dir = opendir(DIR_SCHEMAS);
    cr_assert_not_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        AUTO_FREE char *stem = mem_strdup(entry->d_name);
        char *suffix = strstr(stem, ".json");
        if (suffix == NULL) {
            continue;
        }
        *suffix = '\0';
        const struct schema *schema = compile(stem, "");
        json_t *document = load_file(stem, "");
        AUTO_FREE char *id = mem_printf("%s%s", SCHEMA_BASE, entry->d_name);
        cr_expect_str_eq(json_string_value(json_object_get(document, "$id")), id);
        const json_t *examples = json_object_get(document, "examples");
        size_t i;
        json_t *instance;
        cr_expect(json_array_size(examples) > 0 || is_part(stem), "schemas/%s.json has no examples",
                  stem);
        json_array_foreach (examples, i, instance) {
            AUTO_FREE char *found = judge(schema, instance);
            cr_expect_str_eq(found, "", "%s: %s", stem, found);
        }
        json_decref(document);
    }
    closedir(dir);
}

/* Compilation of a whole document skips them. */
Test(schemas, definitions_without_a_reference_compile)
{
    json_t *common = load_file("common", "");
    const char *name;
    json_t *part;
    json_object_foreach (json_object_get(common, "$defs"), name, part) {
        AUTO_FREE char *uri = mem_printf("%scommon.json#/$defs/%s", SCHEMA_BASE, name);
        AUTO_FREE char *error = NULL;
        cr_expect_not_null(schema_compile(set, uri, &error), "%s", error);
    }
    json_decref(common);
}

static json_t *body_of_vector(const char *name)
{
    AUTO_FREE char *path = mem_printf("%s/tests/vectors/%s", PRESIGND_SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    char text[4096];
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    return parse(strchr(text, '{'));
}

Test(schemas, the_bodies_of_wechat_pays_pages_are_valid)
{
    json_t *partner = body_of_vector("k4_request.msg");
    json_t *direct = body_of_vector("k5_request.msg");
    expect("partner-mini-program", partner, "");
    expect("app", direct, "");
    /* The App page has ASCII parentheses, the partner page full-width ones. */
    change(direct, "deduct_schedule/description", "\"小乔-碎云皮肤(微信83区沧海之耀)\"");
    change(partner, "deduct_schedule/description", "\"小乔-碎云皮肤（微信83区沧海之耀）\"");
    expect("partner-mini-program", partner, "");
    expect("app", direct, "");
    json_decref(partner);
    json_decref(direct);
}

Test(schemas, every_endpoint_has_exactly_its_members)
{
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        cr_assert_not_null(endpoint_find(members[i].name, strlen(members[i].name)));
        json_t *document = load_file(members[i].name, ".request");
        const char *name;
        json_t *part;
        size_t known = 0;
        json_object_foreach (json_object_get(document, "properties"), name, part) {
            cr_expect(lists(members[i].required, name) || lists(members[i].optional, name), "%s %s",
                      members[i].name, name);
            known++;
        }
        json_decref(document);
        size_t named = 2;
        for (const char *at = members[i].required; *at != '\0'; at++) {
            named += *at == ' ';
        }
        for (const char *at = members[i].optional; *at != '\0'; at++) {
            named += *at == ' ';
        }
        cr_expect_eq(known, named, "%s", members[i].name);
    }
}

static void check_member(const char *endpoint, const json_t *full, const char *name, bool required)
{
    const char *type = type_of(name);
    AUTO_FREE char *null =
        mem_printf("/%s /properties/%s/type is null, must be %s", name, name, type);
    AUTO_FREE char *boolean =
        mem_printf("/%s /properties/%s/type is a boolean, must be %s", name, name, type);
    AUTO_FREE char *missing = mem_printf(" /required lacks the member %s", name);
    json_t *instance = json_deep_copy(full);
    change(instance, name, "null");
    expect(endpoint, instance, null);
    change(instance, name, "true");
    expect(endpoint, instance, boolean);
    change(instance, name, NULL);
    bool needed_by_another = strcmp(name, "sub_appid") == 0;
    expect(endpoint, instance,
           required            ? missing
           : needed_by_another ? " /dependentRequired has the member sub_openid but lacks sub_appid"
                               : "");
    json_decref(instance);
}

Test(schemas, a_missing_null_or_mistyped_member_has_its_location)
{
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        json_t *full = example(members[i].name, ".request");
        const char *name;
        json_t *value;
        json_object_foreach (full, name, value) {
            check_member(members[i].name, full, name, lists(members[i].required, name));
        }
        json_t *more = json_deep_copy(full);
        change(more, "contract_notify_ulr", "\"https://yourapp.com/\"");
        expect(members[i].name, more,
               "/contract_notify_ulr /additionalProperties is not a known member");
        json_decref(more);
        json_decref(full);
        json_t *nothing = json_null();
        expect(members[i].name, nothing, " /type is null, must be an object");
    }
}

/* ---- The values of each member ---- */

#define C8          "12345678"
#define C32         C8 C8 C8 C8
#define C128        C32 C32 C32 C32
#define W8          "微信代扣用户甲乙"
#define W32         W8 W8 W8 W8
#define DATE        "deduct_schedule/estimated_deduct_date"
#define TOTAL       "deduct_schedule/estimated_deduct_amount/total"
#define CURRENCY    "deduct_schedule/estimated_deduct_amount/currency"
#define IN_SCHEDULE " /properties/deduct_schedule/$ref/properties/"
#define IN_AMOUNT   IN_SCHEDULE "estimated_deduct_amount/properties/"
#define URL_PATTERN "does not match the pattern ^https://([^/?#@]*@)?[^/?#@:][^/?#@]*(/[^?#]*)?$"
#define BMP         "$ref/pattern does not match the pattern ^[\\u0000-\\uFFFF]*$"

/* The violation after "/MEMBER" of the instance; NULL: valid. Applies to each endpoint that has the
 * member. */
static const struct {
    const char *member, *value, *violation;
} values[] = {
    {"appid", "\"" C32 "\"", NULL},
    {"appid", "\"" C32 "1\"",
     " /properties/appid/$ref/maxLength has 33 characters, may have at most 32"},
    {"appid", "\"\"", " /properties/appid/$ref/minLength has 0 characters, must have at least 1"},
    {"sp_appid", "\"" C32 "1\"",
     " /properties/sp_appid/$ref/maxLength has 33 characters, may have at most 32"},
    {"sub_appid", "\"\"",
     " /properties/sub_appid/$ref/minLength has 0 characters, must have at least 1"},
    {"sub_mchid", "\"" C32 "1\"",
     " /properties/sub_mchid/$ref/maxLength has 33 characters, may have at most 32"},
    {"openid", "\"" C128 "\"", NULL},
    {"openid", "\"" C128 "1\"",
     " /properties/openid/$ref/maxLength has 129 characters, may have at most 128"},
    {"sp_openid", "\"" C128 "1\"",
     " /properties/sp_openid/$ref/maxLength has 129 characters, may have at most 128"},
    {"sub_openid", "\"" C128 "\"", NULL},
    {"plan_id", "1", NULL},
    {"plan_id", "9223372036854775807", NULL},
    {"plan_id", "0", " /properties/plan_id/$ref/minimum must be at least 1"},
    {"plan_id", "-1", " /properties/plan_id/$ref/minimum must be at least 1"},
    {"plan_id", "12535.0",
     " /properties/plan_id/type is written with a point or an exponent, must be an integer"},
    {"plan_id", "1e3",
     " /properties/plan_id/type is written with a point or an exponent, must be an integer"},
    {"plan_id", "\"12535\"", " /properties/plan_id/type is a string, must be an integer"},
    {"out_contract_code", "\"" C32 "\"", NULL},
    {"out_contract_code", "\"" C32 "1\"",
     " /properties/out_contract_code/$ref/pattern does not match the pattern ^[0-9A-Za-z]{1,32}$"},
    {"out_contract_code", "\"a-b\"",
     " /properties/out_contract_code/$ref/pattern does not match the pattern ^[0-9A-Za-z]{1,32}$"},
    {"out_contract_code", "\"ab\\n\"",
     " /properties/out_contract_code/$ref/pattern does not match the pattern ^[0-9A-Za-z]{1,32}$"},
    {"out_contract_code", "\"\"",
     " /properties/out_contract_code/$ref/pattern does not match the pattern ^[0-9A-Za-z]{1,32}$"},
    {"contract_display_account", "\"" W32 "\"", NULL},
    {"contract_display_account", "\"" W32 "甲\"",
     " /properties/contract_display_account/$ref/maxLength has 33 characters, may have at most 32"},
    {"contract_display_account", "\"a" WIDE_EMOJI "\"",
     " /properties/contract_display_account/$ref/" BMP},
    {"out_user_code", "\"\\uffff用户A!\"", NULL},
    {"out_user_code", "\"" WIDE_EMOJI "\"", " /properties/out_user_code/$ref/" BMP},
    {"contract_notify_url", "\"https://a.example\"", NULL},
    {"contract_notify_url", "\"https://a.example:8443/x/%E5%BE%AE;y=1\"", NULL},
    {"contract_notify_url", "\"https://u:p@a.example/\"", NULL},
    {"contract_notify_url", "\"https://[::1]:8443/n\"", NULL},
    {"contract_notify_url", "\"https://:443/n\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"https://u:p@:443/n\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"https://u@\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"http://a.example/\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"https://a.example/?q=1\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"https://a.example/#f\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"https:///path\"",
     " /properties/contract_notify_url/$ref/pattern " URL_PATTERN},
    {"contract_notify_url", "\"https://a.example/微\"",
     " /properties/contract_notify_url/$ref/format is not a valid uri"},
    {"contract_notify_url", "\"https://a.example/ \"",
     " /properties/contract_notify_url/$ref/format is not a valid uri"},
    {"contract_notify_url", "\"https://a/" C128 C128 "\"",
     " /properties/contract_notify_url/$ref/maxLength has 266 characters, may have at most 256"},
    {DATE, "\"2019-11-22\"", NULL},
    {DATE, "\"2024-02-29\"", NULL},
    {DATE, "\"2023-02-29\"", IN_SCHEDULE "estimated_deduct_date/format is not a valid date"},
    {DATE, "\"2019/11/22\"", IN_SCHEDULE "estimated_deduct_date/format is not a valid date"},
    {DATE, "20191122", IN_SCHEDULE "estimated_deduct_date/type is an integer, must be a string"},
    {TOTAL, "1", NULL},
    {TOTAL, "0", IN_AMOUNT "total/minimum must be at least 1"},
    {TOTAL, "1.0",
     IN_AMOUNT "total/type is written with a point or an exponent, must be an integer"},
    {TOTAL, "\"1\"", IN_AMOUNT "total/type is a string, must be an integer"},
    {TOTAL, "null", IN_AMOUNT "total/type is null, must be an integer"},
    {CURRENCY, "\"USD\"", IN_AMOUNT "currency/enum must be one of [\"CNY\"]"},
    {CURRENCY, "null", IN_AMOUNT "currency/enum must be one of [\"CNY\"]"},
    {CURRENCY, NULL, NULL},
    {"deduct_schedule/description", "\"" W32 W32 W32 W32 W32 W32 "\"", NULL},
    {"deduct_schedule/description", "\"\"",
     IN_SCHEDULE "description/minLength has 0 characters, must have at least 1"},
    {"deduct_schedule/description", "\"" WIDE_EMOJI "\"", IN_SCHEDULE "description/" BMP},
    {"deduct_schedule/estimated_deduct_amount", "1",
     IN_SCHEDULE "estimated_deduct_amount/type is an integer, must be an object"},
    {"deduct_schedule/more", "1",
     " /properties/deduct_schedule/$ref/additionalProperties is not a known member"},
    {"deduct_schedule/estimated_deduct_amount/more", "1",
     IN_SCHEDULE "estimated_deduct_amount/additionalProperties is not a known member"},
    {"jump_control/jump_appid", "\"\"",
     " /properties/jump_control/$ref/properties/jump_appid/$ref/minLength has 0 characters, must "
     "have at least 1"},
    {"jump_control/more", "1",
     " /properties/jump_control/$ref/additionalProperties is not a known member"},
};

Test(schemas, each_value_is_checked_at_every_endpoint_that_has_the_member)
{
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
        const char *member = values[i].member;
        AUTO_FREE char *first = mem_dup(member, strcspn(member, "/"));
        AUTO_FREE char *violation = values[i].violation == NULL
                                        ? mem_strdup("")
                                        : mem_printf("/%s%s", member, values[i].violation);
        size_t seen = 0;
        for (size_t j = 0; j < ARRAY_LENGTH(members); j++) {
            json_t *instance = example(members[j].name, ".request");
            if (json_object_get(instance, first) != NULL) {
                change(instance, member, values[i].value);
                expect(members[j].name, instance, violation);
                seen++;
            }
            json_decref(instance);
        }
        cr_expect_geq(seen, 2, "%s", member);
    }
}

Test(schemas, a_missing_part_of_the_schedule_has_the_location_of_its_object)
{
    static const struct {
        const char *member, *violation;
    } rows[] = {
        {DATE, "/deduct_schedule /properties/deduct_schedule/$ref/required lacks the member "
               "estimated_deduct_date"},
        {"deduct_schedule/description",
         "/deduct_schedule /properties/deduct_schedule/$ref/required lacks the member description"},
        {"deduct_schedule/estimated_deduct_amount",
         "/deduct_schedule /properties/deduct_schedule/$ref/required lacks the member "
         "estimated_deduct_amount"},
        {TOTAL, "/deduct_schedule/estimated_deduct_amount" IN_SCHEDULE
                "estimated_deduct_amount/required lacks the member total"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        json_t *instance = example("app", ".request");
        change(instance, rows[i].member, NULL);
        expect("app", instance, rows[i].violation);
        json_decref(instance);
    }
}

Test(schemas, sub_openid_needs_sub_appid)
{
    static const char *const endpoints[] = {"partner-mini-program", "partner-jsapi", "partner-app",
                                            "partner-h5"};
    for (size_t i = 0; i < ARRAY_LENGTH(endpoints); i++) {
        json_t *instance = example(endpoints[i], ".request");
        change(instance, "sp_openid", NULL);
        expect(endpoints[i], instance, "");
        change(instance, "sub_openid", NULL);
        expect(endpoints[i], instance,
               i < 2 ? " /anyOf/0/required lacks the member sp_openid; "
                       " /anyOf/1/required lacks the member sub_openid"
                     : "");
        change(instance, "sp_openid", "\"o\"");
        expect(endpoints[i], instance, "");
        json_decref(instance);
    }
}

Test(schemas, all_violations_are_reported_at_once)
{
    json_t *instance = example("app", ".request");
    change(instance, "plan_id", "\"1\"");
    change(instance, "appid", NULL);
    change(instance, "apid", "\"wx\"");
    expect("app", instance,
           " /required lacks the member appid; "
           "/plan_id /properties/plan_id/type is a string, must be an integer; "
           "/apid /additionalProperties is not a known member");
    json_decref(instance);
}

/* ---- Answers, events, outcomes ---- */

Test(schemas, answers_need_the_required_members_and_may_have_more)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    for (size_t i = 0; i < count; i++) {
        const struct schema *schema = compile(table[i].name, ".response");
        json_t *document = load_file(table[i].name, ".response");
        json_t *full = example(table[i].name, ".response");
        change(full, "since_next_year", "null");
        cr_expect(schema_validate(schema, full, NULL), "%s", table[i].name);
        size_t required = 0;
        for (; table[i].required[required] != NULL; required++) {
            const char *name = table[i].required[required];
            json_t *less = json_deep_copy(full);
            change(less, name, NULL);
            cr_expect_not(schema_validate(schema, less, NULL), "%s %s", table[i].name, name);
            change(less, name, "\"\"");
            cr_expect_not(schema_validate(schema, less, NULL), "%s %s", table[i].name, name);
            json_decref(less);
        }
        cr_expect_eq(required, json_array_size(json_object_get(document, "required")));
        json_decref(full);
        json_decref(document);
    }
}

static void check_document(const char *name, const char *member, const char *value,
                           const char *violations)
{
    json_t *instance = example(name, "");
    change(instance, member, value);
    AUTO_FREE char *found = judge(compile(name, ""), instance);
    cr_expect_str_eq(found, violations, "%s %s: %s", name, member, found);
    json_decref(instance);
}

Test(schemas, the_schema_of_events_covers_envelope_and_data)
{
    check_document("event", "partitionkey", "\"k\"", "");
    check_document("event", "specversion", "\"0.3\"",
                   "/specversion /properties/specversion/const must be \"1.0\"");
    check_document("event", "id", NULL, " /required lacks the member id");
    check_document("event", "expirytime", "\"tomorrow\"",
                   "/expirytime /properties/expirytime/$ref/format is not a valid date-time");
    check_document("event", "datacontenttype", "\"application/json; charset=UTF-8\"", "");
    check_document(
        "event", "data/plan_id", "\"1\"",
        "/data/plan_id /$ref/allOf/0/then/properties/data/$ref/properties/plan_id/type is a "
        "string, must be an integer");
}

Test(schemas, the_schemas_of_outcomes_cover_envelope_and_data)
{
    check_document("result", "data/plan_id", NULL,
                   "/data /properties/data/required lacks the member plan_id");
    check_document("result", "id", "\"41\"",
                   "/id /$ref/properties/id/$ref/pattern does not match the pattern "
                   "^.+/[0-9]+/[0-9]+$");
    check_document("failure", "data/call_state", "\"failed\"",
                   "/data/call_state /properties/data/properties/call_state/enum must be one of "
                   "[\"unknown\",\"answered\",\"not_sent\"]");
    check_document("failure", "data/original/value", "null", "");
    check_document(
        "failure", "data/original/value", NULL,
        "/data/original /properties/data/properties/original/$ref/oneOf/0/required lacks "
        "the member value; /data/original "
        "/properties/data/properties/original/$ref/oneOf/1/required lacks the member "
        "value_base64");
}

/* The names of schemas/names.json are the only valid ones. */
Test(schemas, unknown_names_of_types_endpoints_and_reasons_are_invalid)
{
    static const char *const named[][2] = {
        {"event", "type"},          {"result", "type"},           {"failure", "type"},
        {"failure", "data/reason"}, {"failure", "data/endpoint"}, {"result", "data/endpoint"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(named); i++) {
        json_t *instance = example(named[i][0], "");
        change(instance, named[i][1], "\"unknown\"");
        AUTO_FREE char *found = judge(compile(named[i][0], ""), instance);
        cr_expect_not_null(strstr(found, "/enum must be one of "), "%s.json accepts any %s: %s",
                           named[i][0], named[i][1], found);
        json_decref(instance);
    }
}
