#include "presignd/wechatpay/merchant.h"

#include "unit/sign/pem.h"

#define SERIAL_NO "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB"
/* openssl pkey -pubout -outform DER | sha256sum */
#define KEY_SHA256 "0076df9361cc1f5744359234d7df9fd43442cf369fb98826562f1d10a347ec5c"
#define WECHATPAY  VECTORS "k3_wechatpay_public_key.pem"

static const struct merchant_spec good = {.mchid = "1900007291",
                                          .serial_no = SERIAL_NO,
                                          .private_key_path = MERCHANT,
                                          .key_is_credential = true,
                                          .public_key_id = "PUB_KEY_ID_0114232134912410",
                                          .public_key_path = WECHATPAY,
                                          .max_in_flight = 256,
                                          .rate_per_s = 9};

static struct merchant *expect_taken(const struct merchant_spec *spec)
{
    AUTO_FREE char *errors = NULL;
    struct merchant *merchant = merchant_new(spec, &errors);
    cr_assert_not_null(merchant, "%s", errors);
    return merchant;
}

static void expect_refused(const struct merchant_spec *spec, const char *errors)
{
    AUTO_FREE char *got = NULL;
    cr_assert_null(merchant_new(spec, &got));
    cr_assert_str_eq(got, errors);
}

Test(merchant, keys_and_limits_are_taken_from_its_section)
{
    struct merchant_spec spec = good;
    spec.serial_no = "408b07e79b8269fec3d5d3e6ab8ed163a6a380db";
    struct merchant *merchant = expect_taken(&spec);
    cr_assert_str_eq(merchant->mchid, "1900007291");
    cr_assert_str_eq(merchant->serial_no, SERIAL_NO);
    cr_assert_str_eq(merchant->key_sha256, KEY_SHA256);
    cr_assert(merchant->key_is_credential);
    cr_assert_str_eq(merchant->public_key_id, "PUB_KEY_ID_0114232134912410");
    cr_assert_eq(merchant->verify_key_count, 1);
    cr_assert_str_eq(merchant->verify_keys[0].serial, "PUB_KEY_ID_0114232134912410");
    cr_assert_eq(merchant->verify_keys[0].not_after_ms, INT64_MAX);
    cr_assert_eq(merchant->max_in_flight, 256);
    cr_assert_eq(merchant->rate_per_s, 9);
    cr_assert_eq(merchant_ref(merchant), merchant);
    cr_assert_null(merchant_unref(merchant));
    cr_assert_null(merchant_unref(merchant));
    cr_assert_null(merchant_unref(NULL));
}

Test(merchant, certificates_and_a_public_key_are_held_at_once)
{
    AUTO(pkey_free_at) EVP_PKEY *platform = rsa_new(2048);
    AUTO_BUF struct buf pem_a = pem_certificate(platform, "0A");
    AUTO_BUF struct buf pem_b = pem_certificate(platform, "0B");
    AUTO(file_remove_at) char *a = file_with(pem_a.data, pem_a.len);
    AUTO(file_remove_at) char *b = file_with(pem_b.data, pem_b.len);
    struct merchant_spec spec = good;
    spec.certificate_paths = (const char *const[]){a, b, NULL};
    struct merchant *merchant = expect_taken(&spec);
    cr_assert_eq(merchant->verify_key_count, 3);
    cr_assert_str_eq(merchant->verify_keys[2].serial, "0B");
    cr_assert_lt(merchant->verify_keys[2].not_after_ms, INT64_MAX);
    merchant_unref(merchant);

    spec.public_key_id = "";
    spec.public_key_path = NULL;
    merchant = expect_taken(&spec);
    cr_assert_null(merchant->public_key_id);
    cr_assert_eq(merchant->verify_key_count, 2);
    merchant_unref(merchant);

    AUTO(pkey_free_at) EVP_PKEY *other = rsa_new(2048);
    AUTO_BUF struct buf pem_other = pem_certificate(other, "0A"), pem_both = {0};
    buf_printf(&pem_both, "%s%s", pem_a.data, pem_b.data);
    AUTO(file_remove_at) char *both = file_with(pem_both.data, pem_both.len);
    AUTO(file_remove_at) char *contradicting = file_with(pem_other.data, pem_other.len);
    spec.certificate_paths = (const char *const[]){both, a, NULL}; /* bundles overlap */
    merchant = expect_taken(&spec);
    cr_assert_eq(merchant->verify_key_count, 2);
    cr_assert_gt(merchant->verify_keys[1].not_before_ms, 0);
    merchant_unref(merchant);

    spec.certificate_paths = (const char *const[]){a, contradicting, NULL};
    AUTO_FREE char *twice = mem_printf("merchant 1900007291: platform_certificates: %s: another "
                                       "key of this merchant has serial 0A already: leave one "
                                       "out\n",
                                       contradicting);
    expect_refused(&spec, twice);
}

Test(merchant, more_keys_than_it_may_hold_are_refused)
{
    AUTO(pkey_free_at) EVP_PKEY *platform = rsa_new(2048);
    const char *paths[MERCHANT_VERIFY_KEYS_MAX + 1] = {NULL};
    for (int i = 0; i < MERCHANT_VERIFY_KEYS_MAX; i++) {
        AUTO_FREE char *serial = mem_printf("%02X", i + 1);
        AUTO_BUF struct buf pem = pem_certificate(platform, serial);
        paths[i] = file_with(pem.data, pem.len);
    }
    struct merchant_spec spec = good;
    spec.certificate_paths = paths;
    AUTO_FREE char *errors = NULL;
    cr_assert_null(merchant_new(&spec, &errors));
    cr_assert_not_null(strstr(errors, "is one more than the 16 keys"), "%s", errors);
    for (int i = 0; i < MERCHANT_VERIFY_KEYS_MAX; i++) {
        unlink(paths[i]);
        free((char *)paths[i]);
    }
}

Test(merchant, everything_that_is_wrong_is_said_at_once)
{
    expect_refused(
        &(struct merchant_spec){.mchid = "12a"},
        "merchant ?: mchid: must be 1 to 32 digits\n"
        "merchant ?: serial_no: is missing: give certificate (apiclient_cert.pem), or its serial "
        "number (openssl x509 -noout -serial -in apiclient_cert.pem)\n"
        "merchant ?: private_key: is missing: give the path of apiclient_key.pem\n"
        "merchant ?: wechatpay_public_key: is missing: give it and its id, or "
        "platform_certificates, to verify answers with\n");
    struct merchant_spec spec = good;
    spec.serial_no = "40:8B:07";
    spec.private_key_path = WECHATPAY;
    spec.public_key_path = "/nonexistent";
    spec.certificate_paths = (const char *const[]){WECHATPAY, NULL};
    expect_refused(
        &spec, "merchant 1900007291: serial_no: must be up to 40 hex digits without 0x, colons or "
               "spaces\n"
               "merchant 1900007291: private_key: " WECHATPAY
               ": holds a public key: give the merchant's private key (apiclient_key.pem)\n"
               "merchant 1900007291: wechatpay_public_key: /nonexistent: cannot be read: No such "
               "file or directory\n"
               "merchant 1900007291: platform_certificates: " WECHATPAY
               ": holds a public key: give a platform certificate of WeChat Pay\n");
}

Test(merchant, a_public_key_and_its_id_go_together)
{
    struct merchant_spec spec = good;
    spec.public_key_id = NULL;
    expect_refused(&spec, "merchant 1900007291: wechatpay_public_key_id: is missing: it goes with "
                          "wechatpay_public_key\n");
    spec = good;
    spec.public_key_path = "";
    expect_refused(&spec, "merchant 1900007291: wechatpay_public_key: is missing: it goes with its "
                          "id\n");
    spec = good;
    static const char *const wrong_ids[] = {"PUB_KEY_ID_1\r\nX: y", "PUB_KEY_ID_1-2", "KEY_ID_1"};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong_ids); i++) {
        spec.public_key_id = wrong_ids[i];
        expect_refused(&spec,
                       "merchant 1900007291: wechatpay_public_key_id: must be letters, digits and "
                       "underscores, as the merchant platform shows it (PUB_KEY_ID_...)\n");
    }
}

Test(merchant, its_certificate_gives_the_serial_number_and_its_time)
{
    AUTO(pkey_free_at) EVP_PKEY *own = vector_merchant_key();
    AUTO_BUF struct buf pem = pem_certificate(own, "0A"),
                        renewed =
                            pem_certificate_at(own, "0B", "20270101000000Z", "20320101000000Z"),
                        both = {0};
    buf_printf(&both, "%s%s", renewed.data, pem.data);
    AUTO(file_remove_at) char *one = file_with(pem.data, pem.len);
    AUTO(file_remove_at) char *bundle = file_with(both.data, both.len);
    const struct {
        const char *path, *serial_no, *taken;
    } cases[] = {
        {one, NULL, "0A"},   {one, "0a", "0A"},  {one, "a", "A"},
        {one, "00a", "00A"}, {bundle, "", "0B"}, {bundle, "0a", "0A"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct merchant_spec spec = good;
        spec.certificate_path = cases[i].path;
        spec.serial_no = cases[i].serial_no;
        struct merchant *merchant = expect_taken(&spec);
        bool is_old = strcmp(cases[i].taken, "0B") != 0;
        cr_assert_str_eq(merchant->serial_no, cases[i].taken, "case %zu", i);
        cr_assert_eq(merchant->certificate_not_before_ms,
                     is_old ? INT64_C(1695136558000) : INT64_C(1798761600000));
        cr_assert_eq(merchant->certificate_not_after_ms,
                     is_old ? INT64_C(1852816558000) : INT64_C(1956528000000));
        merchant_unref(merchant);
    }
}

Test(merchant, a_certificate_of_another_key_or_serial_number_is_refused)
{
    AUTO(pkey_free_at) EVP_PKEY *own = vector_merchant_key();
    AUTO(pkey_free_at) EVP_PKEY *foreign = rsa_new(2048);
    AUTO_BUF struct buf pem = pem_certificate(own, "0A"),
                        pem_foreign = pem_certificate(foreign, "0C");
    AUTO(file_remove_at) char *path = file_with(pem.data, pem.len);
    AUTO(file_remove_at) char *other = file_with(pem_foreign.data, pem_foreign.len);
    struct merchant_spec spec = good;
    spec.certificate_path = path;
    expect_refused(&spec, "merchant 1900007291: serial_no: is not the serial number of "
                          "certificate, which is 0A: correct it, or leave it out\n");
    spec.serial_no = NULL;
    spec.certificate_path = other;
    AUTO_FREE char *unpaired = mem_printf(
        "merchant 1900007291: certificate: %s: private_key does not belong to this certificate: "
        "give the apiclient_cert.pem and the apiclient_key.pem of one application\n",
        other);
    expect_refused(&spec, unpaired);
    spec.certificate_path = MERCHANT;
    expect_refused(&spec, "merchant 1900007291: certificate: " MERCHANT
                          ": holds a private key: give the merchant's certificate "
                          "(apiclient_cert.pem)\n");
}

Test(merchant, a_serial_number_has_at_most_40_digits)
{
    struct merchant_spec spec = good;
    spec.serial_no = SERIAL_NO "0";
    expect_refused(&spec, "merchant 1900007291: serial_no: must be up to 40 hex digits without "
                          "0x, colons or spaces\n");
}

Test(merchant, what_is_missing_reported_once)
{
    AUTO_FREE char *errors = NULL;
    const struct merchant_spec spec = {.mchid = "1900007291",
                                       .private_key_path = WECHATPAY,
                                       .public_key_path = "/nonexistent",
                                       .missing_reported = true};
    cr_assert_null(merchant_new(&spec, &errors));
    cr_assert_str_eq(errors,
                     "merchant 1900007291: private_key: " WECHATPAY
                     ": holds a public key: give the merchant's private key (apiclient_key.pem)\n"
                     "merchant 1900007291: wechatpay_public_key: /nonexistent: cannot be read: No "
                     "such file or directory\n");
}

Test(merchant, its_own_public_key_proves_nothing)
{
    AUTO(pkey_free_at) EVP_PKEY *own = vector_merchant_key();
    AUTO_BUF struct buf pem = pem_of(own, FORM_PUBLIC);
    AUTO(file_remove_at) char *path = file_with(pem.data, pem.len);
    struct merchant_spec spec = good;
    spec.public_key_path = path;
    AUTO_FREE char *errors = mem_printf("merchant 1900007291: wechatpay_public_key: %s: is the "
                                        "merchant's own key: answers are verified with "
                                        "WeChat Pay's\n",
                                        path);
    expect_refused(&spec, errors);
}

static struct merchant *merchant_of(const char *mchid, enum merchant_mode mode, bool is_default)
{
    struct merchant_spec spec = good;
    spec.mchid = mchid;
    spec.mode = mode;
    spec.is_default = is_default;
    return expect_taken(&spec);
}

Test(merchant, a_table_finds_by_number_and_knows_the_default)
{
    struct merchant *items[] = {
        merchant_of("1", MODE_DIRECT, false), merchant_of("2", MODE_PARTNER, false),
        merchant_of("3", MODE_PARTNER, true), merchant_of("4", MODE_PARTNER, false)};
    struct merchants *table = merchants_new(items, 4);
    cr_assert_eq(merchants_count(table), 4);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(merchants_at(table, i), items[i]);
        cr_assert_eq(merchants_find(table, items[i]->mchid), items[i]);
    }
    cr_assert_null(merchants_find(table, ""));
    cr_assert_null(merchants_find(table, "11"));
    cr_assert_eq(merchants_default(table, MODE_DIRECT), items[0], "the only one");
    cr_assert_eq(merchants_default(table, MODE_PARTNER), items[2], "the one that says so");

    /* A call in flight outlives the table of its time. */
    struct merchant *held = merchant_ref(items[1]);
    merchants_ref(table);
    cr_assert_null(merchants_unref(table));
    cr_assert_eq(merchants_count(table), 4);
    cr_assert_null(merchants_unref(table));
    cr_assert_str_eq(held->mchid, "2");
    merchant_unref(held);
}

Test(merchant, no_default_is_guessed)
{
    struct merchant *items[] = {merchant_of("1", MODE_PARTNER, false),
                                merchant_of("2", MODE_PARTNER, false)};
    struct merchants *table = merchants_new(items, 2);
    cr_assert_null(merchants_default(table, MODE_DIRECT));
    cr_assert_null(merchants_default(table, MODE_PARTNER));
    merchants_unref(table);
}

static struct verify_key listed(const char *serial, EVP_PKEY *key, int64_t not_after_ms)
{
    EVP_PKEY_up_ref(key);
    return (struct verify_key){
        .serial = mem_strdup(serial), .key = key, .not_after_ms = not_after_ms};
}

Test(merchant, a_list_brings_the_keys_of_automatic_certificates)
{
    AUTO(pkey_free_at) EVP_PKEY *platform = rsa_new(2048);
    struct merchant_spec spec = good;
    spec.public_key_id = "";
    spec.public_key_path = NULL;
    spec.certificates_auto = true;
    expect_refused(&spec, "merchant 1900007291: apiv3_key: is missing: it opens the certificates "
                          "that platform_certificates = auto downloads\n");
    spec.apiv3_key = "0123456789abcdefghijABCDEFGHIJ01";
    struct merchant *merchant = expect_taken(&spec);
    cr_assert_not(merchant_has_keys(merchant, 1000));

    struct verify_key one = listed("0A", platform, 2000000);
    cr_assert(platform_keys_set(merchant->platform_keys, &one, 1, 0));
    cr_assert(merchant_has_keys(merchant, 2000));
    cr_assert_not(merchant_has_keys(merchant, 2001));
    struct verify_key same = listed("0A", platform, 2000000);
    cr_assert_not(platform_keys_set(merchant->platform_keys, &same, 1, 0));
    struct verify_key other = listed("0B", platform, 2000000);
    cr_assert(platform_keys_set(merchant->platform_keys, &other, 1, 0));
    cr_assert(platform_keys_set(merchant->platform_keys, NULL, 0, 0));
    cr_assert_not(merchant_has_keys(merchant, 1000));
    merchant_unref(merchant);
}

Test(merchant, both_kinds_of_keys_verify)
{
    AUTO(pkey_free_at) EVP_PKEY *platform = rsa_new(2048);
    struct verify_key room[MERCHANT_KEYS_MAX];
    size_t count;
    struct merchant_spec spec = good;
    spec.apiv3_key = "0123456789abcdefghijABCDEFGHIJ01";
    struct merchant *before = expect_taken(&spec);
    cr_assert_eq(merchant_keys(before, room, &count), before->verify_keys);
    cr_assert_eq(count, 1);
    spec.certificates_auto = true;
    struct merchant *merchant = expect_taken(&spec);
    cr_assert_not(merchant_same(before, merchant));
    struct verify_key one = listed("0A", platform, 2000000);
    cr_assert(platform_keys_set(merchant->platform_keys, &one, 1, 0));
    const struct verify_key *keys = merchant_keys(merchant, room, &count);
    cr_assert_eq(count, 2);
    cr_assert_str_eq(keys[0].serial, "PUB_KEY_ID_0114232134912410");
    cr_assert_str_eq(keys[1].serial, "0A");
    cr_assert(merchant_has_keys(merchant, 3000), "the public key does not expire");
    merchant_unref(before);
    merchant_unref(merchant);
}
