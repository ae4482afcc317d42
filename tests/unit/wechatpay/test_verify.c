#include "presignd/wechatpay/verify.h"

#include "unit/sign/vectors.h"

#define K3_TIME INT64_C(1722850421)

/* k3 of the vectors, cut into its parts. */
struct scene {
    EVP_PKEY *key;
    struct buf message, signature;
    struct verify_key keys[2];
    struct verify_input input;
};

static void scene_deinit(struct scene *scene)
{
    EVP_PKEY_free(scene->key);
    buf_deinit(&scene->message);
    buf_deinit(&scene->signature);
}

static struct scene scene_of_k3(void)
{
    char *error = NULL;
    struct scene scene = {.key = key_public_read(VECTORS "k3_wechatpay_public_key.pem", &error),
                          .message = vector_read("k3_response.msg"),
                          .signature = vector_read("k3_response.sig.b64")};
    cr_assert_not_null(scene.key, "%s", error);
    scene.keys[0] = (struct verify_key){.serial = "5DEA10",
                                        .key = scene.key,
                                        .not_before_ms = (K3_TIME + 290) * 1000,
                                        .not_after_ms = (K3_TIME + 10) * 1000};
    scene.keys[1] =
        (struct verify_key){.serial = "PUB_KEY_ID_3", .key = scene.key, .not_after_ms = INT64_MAX};
    char *nonce = strchr(scene.message.data, '\n') + 1;
    char *body = strchr(nonce, '\n') + 1;
    nonce[-1] = body[-1] = '\0';
    size_t body_len = strlen(body) - 1;
    scene.input = (struct verify_input){.serial = "PUB_KEY_ID_3",
                                        .timestamp = scene.message.data,
                                        .nonce = nonce,
                                        .signature = scene.signature.data,
                                        .body = body,
                                        .body_len = body_len};
    return scene;
}

static void expect_status(struct scene *scene, int64_t now_s, enum verify_status expected)
{
    enum verify_status got = verify_answer(scene->keys, 2, &scene->input, now_s);
    cr_assert_eq(got, expected, "%s instead of %s", verify_status_text(got),
                 verify_status_text(expected));
}

Test(verify, the_published_answer_verifies_for_five_minutes_each_way)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    expect_status(&scene, K3_TIME, VERIFY_OK);
    expect_status(&scene, K3_TIME + 300, VERIFY_OK);
    expect_status(&scene, K3_TIME - 300, VERIFY_OK);
    expect_status(&scene, K3_TIME + 301, VERIFY_BAD_TIMESTAMP);
    expect_status(&scene, K3_TIME - 301, VERIFY_BAD_TIMESTAMP);
}

Test(verify, any_changed_byte_of_what_is_signed_fails)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    /* The message's buffer holds timestamp, nonce and body with NULs between. */
    for (size_t i = strlen(scene.input.timestamp) - 1; i + 1 < scene.message.len; i++) {
        if (scene.message.data[i] == '\0') {
            continue;
        }
        scene.message.data[i] ^= 1;
        expect_status(&scene, K3_TIME, VERIFY_BAD_SIGNATURE);
        scene.message.data[i] ^= 1;
    }
    scene.input.body_len--;
    expect_status(&scene, K3_TIME, VERIFY_BAD_SIGNATURE);
    scene.input.body_len++;
    expect_status(&scene, K3_TIME, VERIFY_OK);
    scene.signature.data[10] = scene.signature.data[10] == 'A' ? 'B' : 'A';
    expect_status(&scene, K3_TIME, VERIFY_BAD_SIGNATURE);
}

Test(verify, a_signature_needs_all_its_headers)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    const char **headers[] = {&scene.input.serial, &scene.input.timestamp, &scene.input.nonce,
                              &scene.input.signature};
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        const char *was = *headers[i];
        *headers[i] = NULL;
        expect_status(&scene, K3_TIME, VERIFY_UNSIGNED);
        *headers[i] = "";
        expect_status(&scene, K3_TIME, VERIFY_UNSIGNED);
        *headers[i] = was;
    }
    expect_status(&scene, K3_TIME, VERIFY_OK);
}

Test(verify, what_is_wrong_has_a_name)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    const struct verify_input good = scene.input;
    scene.input.signature = "WECHATPAY/SIGNTEST/aGVsbG8=";
    expect_status(&scene, K3_TIME, VERIFY_SIGNATURE_TEST);
    scene.input.signature = "not base64!";
    expect_status(&scene, K3_TIME, VERIFY_BAD_ENCODING);
    scene.input.signature = "aGVsbG8=";
    expect_status(&scene, K3_TIME, VERIFY_BAD_SIGNATURE);
    scene.input = good;
    scene.input.serial = "PUB_KEY_ID_";
    expect_status(&scene, K3_TIME, VERIFY_UNKNOWN_SERIAL);
    scene.input = good;
    static const char *const times[] = {"soon", "1722850421.0", " 1722850421", "-1",
                                        "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LENGTH(times); i++) {
        scene.input.timestamp = times[i];
        expect_status(&scene, K3_TIME, VERIFY_BAD_TIMESTAMP);
    }
}

Test(verify, the_named_algorithm_is_that_of_the_key)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    static const struct {
        const char *type;
        enum verify_status status;
    } cases[] = {
        {"", VERIFY_OK}, /* as a missing one */
        {"WECHATPAY2-SHA256-RSA2048", VERIFY_OK},
        {"WECHATPAY2-SM2-WITH-SM3", VERIFY_WRONG_ALGORITHM},
        {"wechatpay2-sha256-rsa2048", VERIFY_WRONG_ALGORITHM},
        {"WECHATPAY2-SHA256-RSA2048, WECHATPAY2-SM2-WITH-SM3", VERIFY_WRONG_ALGORITHM},
        {"RSA", VERIFY_WRONG_ALGORITHM},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        scene.input.signature_type = cases[i].type;
        expect_status(&scene, K3_TIME, cases[i].status);
    }
    scene.input.serial = "PUB_KEY_ID_4"; /* an unknown key's algorithm is unknown too */
    expect_status(&scene, K3_TIME, VERIFY_UNKNOWN_SERIAL);
}

Test(verify, a_certificate_serves_from_its_beginning_to_its_end)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    scene.input.serial = "5DEA10";
    expect_status(&scene, K3_TIME - 11, VERIFY_UNKNOWN_SERIAL);
    expect_status(&scene, K3_TIME - 10, VERIFY_OK);
    expect_status(&scene, K3_TIME + 10, VERIFY_OK);
    expect_status(&scene, K3_TIME + 11, VERIFY_UNKNOWN_SERIAL);
}

Test(verify, no_key_no_trust)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    cr_assert_eq(verify_answer(NULL, 0, &scene.input, K3_TIME), VERIFY_UNKNOWN_SERIAL);
}

Test(verify, a_serial_is_a_number)
{
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    scene.keys[0].serial = "0DEA10";
    scene.keys[0].not_before_ms = 0;
    for (size_t i = 0; i < 4; i++) {
        scene.input.serial = (const char *const[]){"0DEA10", "DEA10", "00dea10", "dea10"}[i];
        expect_status(&scene, K3_TIME, VERIFY_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        scene.input.serial = (const char *const[]){"DEA100", "EA10", "0", "0xDEA10"}[i];
        expect_status(&scene, K3_TIME, VERIFY_UNKNOWN_SERIAL);
    }
}

/* Contexts are kept for keys; a freed key's address may become another key's. */
Test(verify, each_of_many_keys_verifies_what_it_signed)
{
    enum { KEYS = 200 };
    AUTO(scene_deinit) struct scene scene = scene_of_k3();
    EVP_PKEY *keys[KEYS];
    char *error = NULL;
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < KEYS; i++) {
            bool ours = (i + round) % 2 == 0;
            keys[i] = ours ? key_public_read(VECTORS "k3_wechatpay_public_key.pem", &error)
                           : key_private_read(VECTORS "merchant_private_key.pem", &error);
            cr_assert_not_null(keys[i], "%s", error);
            scene.keys[1].key = keys[i];
            expect_status(&scene, K3_TIME, ours ? VERIFY_OK : VERIFY_BAD_SIGNATURE);
        }
        for (size_t i = 0; i < KEYS; i++) {
            EVP_PKEY_free(keys[i]);
        }
    }
}
