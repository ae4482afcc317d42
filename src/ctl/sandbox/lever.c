/* What POST /sandbox takes. DIR/platform.json has the same members, one object for each merchant.
 */
#include "ctl/sandbox/sandbox.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define TEN_YEARS_S (INT64_C(10) * 365 * 86400)

const char *sandbox_serial_mode_name(size_t index)
{
    static const char *const names[] = {"public-key", "certificate", "both"};
    return index < ARRAY_LENGTH(names) ? names[index] : NULL;
}

bool sandbox_serial_mode_find(const char *name, enum sandbox_serial_mode *mode)
{
    for (size_t i = 0; sandbox_serial_mode_name(i) != NULL; i++) {
        if (strcmp(name, sandbox_serial_mode_name(i)) == 0) {
            *mode = (enum sandbox_serial_mode)i;
            return true;
        }
    }
    return false;
}

/* ---- members: each reader returns NULL, or what the value must be (free()) */

struct member {
    const char *name;
    char *(*read)(const struct sandbox_keys *keys, const struct member *member, const json_t *value,
                  struct sandbox_change *change);
    unsigned max;  /* of the numbers in it */
    size_t offset; /* in the change, of a set or a new certificate */
};

static const char *string_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text == NULL ? "" : text;
}

static char *read_mchid(const struct sandbox_keys *keys, const struct member *, const json_t *value,
                        struct sandbox_change *change)
{
    change->merchant = sandbox_keys_find(keys, string_of(value));
    return change->merchant != NULL ? NULL : mem_strdup("must be one of the sandbox's merchants");
}

static char *read_mode(const struct sandbox_keys *, const struct member *, const json_t *value,
                       struct sandbox_change *change)
{
    change->has_mode = sandbox_serial_mode_find(string_of(value), &change->mode);
    return change->has_mode ? NULL : mem_strdup("must be public-key, certificate or both");
}

/* A whole number from 1 to `max`, or 0. */
static unsigned number_of(const json_t *value, unsigned max)
{
    json_int_t number = json_integer_value(value);
    return number >= 1 && number <= max ? (unsigned)number : 0;
}

static char *read_set(const struct sandbox_keys *, const struct member *member, const json_t *value,
                      struct sandbox_change *change)
{
    unsigned *set = (unsigned *)((char *)change + member->offset);
    for (size_t i = 0; i < json_array_size(value); i++) {
        unsigned number = number_of(json_array_get(value, i), member->max);
        if (number == 0) {
            *set = 0;
            break;
        }
        *set |= 1U << (number - 1);
    }
    return *set != 0 ? NULL : mem_printf("must be an array of numbers from 1 to %u", member->max);
}

static char *read_signs(const struct sandbox_keys *, const struct member *, const json_t *value,
                        struct sandbox_change *change)
{
    change->signs = number_of(value, SANDBOX_CERTIFICATES_MAX);
    return change->signs != 0
               ? NULL
               : mem_printf("must be a number from 1 to %d", SANDBOX_CERTIFICATES_MAX);
}

static char *read_list(const struct sandbox_keys *, const struct member *, const json_t *value,
                       struct sandbox_change *change)
{
    change->has_list = true;
    return json_is_string(value) ? sandbox_fault_read(string_of(value), true, &change->list)
                                 : mem_strdup("must be a string");
}

static char *read_calls(const struct sandbox_keys *, const struct member *, const json_t *value,
                        struct sandbox_change *change)
{
    change->has_calls = true;
    return json_is_string(value) ? sandbox_fault_read(string_of(value), false, &change->calls)
                                 : mem_strdup("must be a string");
}

static char *read_apiv3_key(const struct sandbox_keys *, const struct member *, const json_t *value,
                            struct sandbox_change *change)
{
    if (json_string_length(value) != SANDBOX_APIV3_KEY_SIZE - 1) {
        return mem_strdup("must be a string of 32 characters");
    }
    memcpy(change->apiv3_key, string_of(value), SANDBOX_APIV3_KEY_SIZE);
    return NULL;
}

/* A time from now, in seconds. */
static bool read_offset(const json_t *object, const char *name, int64_t *out)
{
    const json_t *value = json_object_get(object, name);
    *out = value == NULL ? SANDBOX_NOT_GIVEN : json_integer_value(value);
    return value == NULL || (json_is_integer(value) && *out >= -TEN_YEARS_S && *out <= TEN_YEARS_S);
}

static char *read_new(const struct sandbox_keys *, const struct member *member, const json_t *value,
                      struct sandbox_change *change)
{
    struct sandbox_new *out = (struct sandbox_new *)((char *)change + member->offset);
    const json_t *key = json_object_get(value, "key");
    out->number = number_of(json_object_get(value, "number"), member->max);
    out->key = number_of(key, member->max);
    bool times = read_offset(value, "starts_in_s", &out->starts_in_s) &&
                 read_offset(value, "ends_in_s", &out->ends_in_s);
    if (out->number == 0 || !times || (key != NULL && out->key == 0)) {
        return mem_printf("must have number (1 to %u); starts_in_s and ends_in_s are seconds from "
                          "now, ten years at most; key is an earlier number",
                          member->max);
    }
    return NULL;
}

#define AT(field) offsetof(struct sandbox_change, field)
static const struct member members[] = {
    {"mchid", read_mchid, 0, 0},
    {"serial_mode", read_mode, 0, 0},
    {"listed", read_set, SANDBOX_CERTIFICATES_MAX, AT(listed)},
    {"signs", read_signs, SANDBOX_CERTIFICATES_MAX, 0},
    {"list", read_list, 0, 0},
    {"calls", read_calls, 0, 0},
    {"apiv3_key", read_apiv3_key, 0, 0},
    {"certificate", read_new, SANDBOX_CERTIFICATES_MAX, AT(certificate)},
    {"merchant_certificate", read_new, SANDBOX_OWN_MAX, AT(own)},
    {"accepted", read_set, SANDBOX_OWN_MAX, AT(accepted)},
};

static char *read_member(const struct sandbox_keys *keys, const char *name, const json_t *value,
                         struct sandbox_change *change)
{
    for (size_t i = 0; i < ARRAY_LENGTH(members); i++) {
        if (strcmp(members[i].name, name) == 0) {
            AUTO_FREE char *problem = members[i].read(keys, &members[i], value, change);
            return problem == NULL ? NULL : mem_printf("%s: %s", name, problem);
        }
    }
    return mem_printf("%s: unknown", name);
}

static char *read_change(const struct sandbox_keys *keys, json_t *object,
                         struct sandbox_change *change)
{
    const char *name;
    json_t *value;
    *change = (struct sandbox_change){0};
    if (!json_is_object(object)) {
        return mem_strdup("give an object");
    }
    json_object_foreach (object, name, value) {
        char *problem = read_member(keys, name, value, change);
        if (problem != NULL) {
            return problem;
        }
    }
    return NULL;
}

/* ---- the request */

bool sandbox_lever_pull(const struct sandbox_keys *keys, const char *body, size_t len,
                        struct buf *state, char **error)
{
    struct sandbox_change change;
    const char *why = "";
    AUTO_JSON json_t *object = json_read(body, len, JSON_NESTING_MAX, 0, &why);
    *error = object == NULL ? mem_strdup(why) : read_change(keys, object, &change);
    return *error == NULL && sandbox_platform_change(keys, &change, state, error);
}

/* ---- the file */

/* What an earlier run left, of one merchant. */
static char *restore_merchant(const struct sandbox_keys *keys, json_t *object)
{
    struct sandbox_change change;
    AUTO_BUF struct buf state = {0};
    char *error = NULL;
    if (sandbox_keys_find(keys, json_text(object, "mchid")) == NULL) {
        return NULL;
    }
    (void)json_object_del(object, "merchant_certificates");
    if (keys->serial_mode_given) {
        (void)json_object_del(object, "serial_mode");
    }
    error = read_change(keys, object, &change);
    bool done = error == NULL && sandbox_platform_change(keys, &change, &state, &error);
    return done ? NULL : error;
}

bool sandbox_lever_restore(const struct sandbox_keys *keys, char **error)
{
    AUTO_FREE char *path = mem_printf("%s/%s", keys->dir, SANDBOX_STATE_FILE);
    const char *why = NULL;
    char *problem = NULL;
    if (!sandbox_keys_has(keys, SANDBOX_STATE_FILE)) {
        return true;
    }
    AUTO_JSON json_t *root = json_load_file(path, 0, NULL);
    json_t *merchants = json_object_get(root, "merchants");
    why = json_is_array(merchants) ? NULL : "has no array merchants";
    for (size_t i = 0; i < json_array_size(merchants) && problem == NULL; i++) {
        problem = restore_merchant(keys, json_array_get(merchants, i));
    }
    if (why != NULL || problem != NULL) {
        *error = mem_printf("%s: %s; delete it", path, why != NULL ? why : problem);
        free(problem);
        return false;
    }
    return true;
}
