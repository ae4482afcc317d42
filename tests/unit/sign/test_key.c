#include "presignd/sign/key.h"

#include "unit/sign/pem.h"

#include <grp.h>
#include <openssl/ec.h>
#include <sys/stat.h>

static unsigned groups_asked;

/* In the place of the library's: every group is the scrapers'. */
struct group *getgrgid(gid_t gid)
{
    static char name[] = "presignd-metrics";
    static struct group group = {.gr_name = name};
    groups_asked++;
    group.gr_gid = gid;
    return &group;
}

Test(key, private_keys_are_read_from_both_of_their_forms)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    for (enum pem_form form = FORM_PKCS8; form <= FORM_PKCS1; form++) {
        AUTO_BUF struct buf pem = pem_of(key, form);
        char *error = NULL;
        AUTO(pkey_free_at)
        EVP_PKEY *again = key_private_parse(pem.data, pem.len, "test", &error);
        cr_assert_not_null(again, "%s", error);
        cr_assert_eq(EVP_PKEY_eq(again, key), 1);
    }
}

static void expect_private_refused(const char *pem, size_t len, const char *reason)
{
    AUTO_FREE char *error = NULL;
    cr_assert_null(key_private_parse(pem, len, "the/path", &error));
    AUTO_FREE char *whole = mem_printf("the/path: %s", reason);
    cr_assert_str_eq(error, whole);
}

Test(key, a_private_key_that_will_not_do_is_refused_with_a_reason)
{
    AUTO(pkey_free_at) EVP_PKEY *good = vector_merchant_key();
    AUTO(pkey_free_at) EVP_PKEY *small = rsa_new(1024);
    AUTO(pkey_free_at) EVP_PKEY *curve = EVP_EC_gen("P-256");
    const struct {
        EVP_PKEY *key;
        enum pem_form form;
        const char *reason;
    } cases[] = {
        {small, FORM_PKCS8, "has 1024 bits: APIv3 keys have 2048 (2048 to 4096 are taken)"},
        {curve, FORM_PKCS8, "is no RSA key: APIv3 signs with RSA of 2048 bits"},
        {curve, FORM_PKCS1,
         "holds an elliptic curve key: give the merchant's private key (apiclient_key.pem)"},
        {good, FORM_ENCRYPTED, "is an encrypted private key: decrypt it first (openssl pkey)"},
        {good, FORM_PKCS1_ENCRYPTED,
         "is an encrypted private key: decrypt it first (openssl pkey)"},
        {good, FORM_PUBLIC,
         "holds a public key: give the merchant's private key (apiclient_key.pem)"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_BUF struct buf pem = pem_of(cases[i].key, cases[i].form);
        expect_private_refused(pem.data, pem.len, cases[i].reason);
    }
    AUTO_BUF struct buf certificate = pem_certificate(good, "0A");
    expect_private_refused(
        certificate.data, certificate.len,
        "holds a certificate: give the merchant's private key (apiclient_key.pem)");
    expect_private_refused("", 0,
                           "holds no PEM text of a key or certificate: give the merchant's "
                           "private key (apiclient_key.pem)");
}

Test(key, a_damaged_private_key_is_refused)
{
    AUTO(pkey_free_at) EVP_PKEY *good = vector_merchant_key();
    AUTO_BUF struct buf pem = pem_of(good, FORM_PKCS8);
    expect_private_refused(pem.data, pem.len / 2,
                           "is a damaged private key: download or copy it again");
    /* A letter of the modulus. (OpenSSL signs around one wrong prime or exponent.) */
    for (size_t at = 100; at < 400; at += 50) {
        char was = pem.data[at];
        pem.data[at] = was == 'A' ? 'B' : 'A';
        AUTO_FREE char *error = NULL;
        cr_assert_null(key_private_parse(pem.data, pem.len, "x", &error));
        cr_assert_not_null(strstr(error, "download or copy it again"), "%s", error);
        pem.data[at] = was;
    }
}

Test(key, public_keys_come_as_such_or_in_a_certificate)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf plain = pem_of(key, FORM_PUBLIC);
    AUTO_BUF struct buf certificate = pem_certificate(key, "0A");
    const struct buf *texts[] = {&plain, &certificate};
    for (size_t i = 0; i < 2; i++) {
        char *error = NULL;
        AUTO(pkey_free_at)
        EVP_PKEY *again = key_public_parse(texts[i]->data, texts[i]->len, "test", &error);
        cr_assert_not_null(again, "%s", error);
        cr_assert_eq(EVP_PKEY_eq(again, key), 1);
        AUTO_FREE char *damaged = NULL;
        cr_assert_null(key_public_parse(texts[i]->data, texts[i]->len / 2, "test", &damaged));
        cr_assert_not_null(strstr(damaged, "that is damaged: download or copy it again"));
    }
    AUTO_BUF struct buf private = pem_of(key, FORM_PKCS8);
    AUTO_FREE char *error = NULL;
    cr_assert_null(key_public_parse(private.data, private.len, "p", &error));
    cr_assert_str_eq(error, "p: holds a private key: give WeChat Pay's public key (pub_key.pem)");
}

Test(key, a_certificate_tells_its_serial_and_its_end)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf pem = pem_certificate(key, "0aEA10EF55877E3CF6C33255C2E7DEFFF7E427EC");
    AUTO_FREE char *serial = NULL;
    char *error = NULL;
    int64_t not_after_ms = 0;
    AUTO(pkey_free_at)
    EVP_PKEY *again = key_certificate_parse(pem.data, pem.len, "c", &serial, &not_after_ms, &error);
    cr_assert_not_null(again, "%s", error);
    cr_assert_str_eq(serial, "0AEA10EF55877E3CF6C33255C2E7DEFFF7E427EC");
    cr_assert_eq(not_after_ms, INT64_C(1852816558000));
    AUTO_BUF struct buf plain = pem_of(key, FORM_PUBLIC);
    AUTO_FREE char *refused = NULL;
    char *none = NULL;
    cr_assert_null(
        key_certificate_parse(plain.data, plain.len, "c", &none, &not_after_ms, &refused));
    cr_assert_str_eq(refused, "c: holds a public key: give a platform certificate of WeChat Pay");
}

static void expect_file_refused(const char *path, const char *phrase)
{
    AUTO_FREE char *error = NULL;
    cr_assert_null(key_private_read(path, &error));
    cr_assert_eq(strncmp(error, path, strlen(path)), 0, "%s", error);
    cr_assert_not_null(strstr(error, phrase), "%s", error);
}

Test(key, a_file_that_will_not_do_is_named)
{
    AUTO_FREE char *zeros = mem_zalloc(1, KEY_FILE_MAX + 1);
    AUTO(file_remove_at) char *large = file_with(zeros, KEY_FILE_MAX + 1);
    AUTO(file_remove_at) char *empty = file_with("", 0);
    expect_file_refused("/nonexistent/key.pem", "No such file");
    expect_file_refused("/tmp", "is no regular file");
    expect_file_refused("/dev/null", "is no regular file");
    expect_file_refused(large, "is larger than 65536 bytes");
    expect_file_refused(empty, "holds no PEM text");
}

Test(key, a_file_open_to_all_is_noticed)
{
    AUTO(file_remove_at) char *path = file_with("x", 1);
    AUTO_FREE char *error = NULL;
    cr_assert_eq(chmod(path, 0644), 0);
    cr_assert(!key_file_check(path, &error));
    cr_assert_not_null(strstr(error, "is open to every user"));
}

/* The database of groups may be another machine's: a key that no group reads does not ask it. */
Test(key, a_file_that_scrapers_read_is_noticed)
{
    AUTO(file_remove_at) char *path = file_with("x", 1);
    AUTO_FREE char *error = NULL;
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert(key_file_check(path, &error));
    cr_assert_eq(groups_asked, 0);
    cr_assert_eq(chmod(path, 0640), 0);
    cr_assert(!key_file_check(path, &error));
    cr_assert_not_null(strstr(error, "by the group presignd-metrics"));
}
