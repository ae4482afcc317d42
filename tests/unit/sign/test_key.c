#include "presignd/sign/key.h"

#include "unit/sign/pem.h"

#include <grp.h>
#include <openssl/ec.h>
#include <openssl/pkcs12.h>
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
                           "is a private key that is damaged: download or copy it again");
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

Test(key, a_certificate_tells_its_serial_and_its_time)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf pem = pem_certificate(key, "0aEA10EF55877E3CF6C33255C2E7DEFFF7E427EC");
    char *error = NULL;
    AUTO(key_certificate_deinit) struct key_certificate found = {0};
    size_t count =
        key_certificates_parse(pem.data, pem.len, "c", KEY_OF_WECHATPAY, &found, 1, &error);
    cr_assert_eq(count, 1, "%s", error);
    cr_assert_eq(EVP_PKEY_eq(found.key, key), 1);
    cr_assert_str_eq(found.serial, "0AEA10EF55877E3CF6C33255C2E7DEFFF7E427EC");
    cr_assert_eq(found.not_before_ms, INT64_C(1695136558000));
    cr_assert_eq(found.not_after_ms, INT64_C(1852816558000));
}

static void expect_certificates_refused(const char *pem, size_t len, const char *reason)
{
    AUTO_FREE char *error = NULL;
    struct key_certificate found[3];
    cr_assert_eq(key_certificates_parse(pem, len, "c", KEY_OF_WECHATPAY, found, 3, &error), 0);
    cr_assert_str_eq(error, reason);
}

Test(key, every_certificate_of_a_bundle_counts)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO(pkey_free_at) EVP_PKEY *small = rsa_new(1024);
    AUTO_BUF struct buf a = pem_certificate(key, "0A"), b = pem_certificate(key, "0B"),
                        weak = pem_certificate(small, "0C"), plain = pem_of(key, FORM_PUBLIC),
                        private = pem_of(key, FORM_PKCS8), bundle = {0};
    buf_printf(&bundle, "subject=/CN=one\n%ssubject=/CN=two\n%s", a.data, b.data);
    struct key_certificate found[3];
    char *none = NULL;
    cr_assert_eq(
        key_certificates_parse(bundle.data, bundle.len, "c", KEY_OF_WECHATPAY, found, 3, &none), 2);
    cr_assert_str_eq(found[0].serial, "0A");
    cr_assert_str_eq(found[1].serial, "0B");
    key_certificate_deinit(&found[0]);
    key_certificate_deinit(&found[1]);

    AUTO_BUF struct buf with_weak = {0}, cut = {0}, many = {0}, with_public = {0},
                        with_private = {0};
    buf_printf(&with_weak, "%s%s", a.data, weak.data);
    buf_append(&cut, bundle.data, bundle.len - b.len / 2);
    buf_printf(&many, "%s%s", bundle.data, bundle.data);
    buf_printf(&with_public, "%s%s", a.data, plain.data);
    buf_printf(&with_private, "%s%s", private.data, a.data);
    expect_certificates_refused(with_weak.data, with_weak.len,
                                "c: certificate 2: has 1024 bits: APIv3 keys have 2048 (2048 to "
                                "4096 are taken)");
    expect_certificates_refused(cut.data, cut.len,
                                "c: is a certificate that is damaged: download or copy it again");
    expect_certificates_refused(many.data, many.len,
                                "c: holds 4 certificates, 3 are the most: leave old ones out");
    expect_certificates_refused(with_public.data, with_public.len,
                                "c: holds a public key: give a platform certificate of WeChat Pay");
    expect_certificates_refused(
        with_private.data, with_private.len,
        "c: holds a private key: give a platform certificate of WeChat Pay");
}

Test(key, a_file_with_two_keys_is_refused)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf private = pem_of(key, FORM_PKCS8), old = pem_of(key, FORM_PKCS1),
                        plain = pem_of(key, FORM_PUBLIC), certificate = pem_certificate(key, "0A");
    AUTO_BUF struct buf privates = {0}, publics = {0}, exported = {0}, mixed = {0};
    buf_printf(&privates, "%s%s", private.data, old.data);
    expect_private_refused(privates.data, privates.len,
                           "holds 2 private keys: leave the merchant's");
    buf_printf(&publics, "%s%s", plain.data, certificate.data);
    AUTO_FREE char *error = NULL;
    cr_assert_null(key_public_parse(publics.data, publics.len, "p", &error));
    cr_assert_str_eq(error, "p: holds 2 keys: leave the one of wechatpay_public_key_id");
    buf_printf(&mixed, "%s%s", plain.data, private.data);
    AUTO_FREE char *secret = NULL;
    cr_assert_null(key_public_parse(mixed.data, mixed.len, "p", &secret));
    cr_assert_str_eq(secret, "p: holds a private key: give WeChat Pay's public key (pub_key.pem)");

    /* As openssl pkcs12 -nodes writes it: there is one private key. */
    buf_printf(&exported, "Bag Attributes\n    localKeyID: 01\n%sBag Attributes\n%s",
               certificate.data, private.data);
    char *none = NULL;
    AUTO(pkey_free_at)
    EVP_PKEY *again = key_private_parse(exported.data, exported.len, "test", &none);
    cr_assert_eq(EVP_PKEY_eq(again, key), 1);
}

/* DER of `pem` under other labels. */
static struct buf relabelled(const struct buf *pem, const char *from, const char *to)
{
    struct buf out = {0};
    const char *rest = pem->data, *at;
    while ((at = strstr(rest, from)) != NULL) {
        buf_append(&out, rest, (size_t)(at - rest));
        buf_puts(&out, to);
        rest = at + strlen(from);
    }
    buf_puts(&out, rest);
    return out;
}

static struct buf pem_rsa_public(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int len = i2d_PublicKey(key, &der);
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_gt(PEM_write_bio(bio, "RSA PUBLIC KEY", "", der, len), 0);
    OPENSSL_free(der);
    return pem_take(bio);
}

Test(key, a_wrong_label_is_no_obstacle)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf pkcs8 = pem_of(key, FORM_PKCS8), pkcs1 = pem_of(key, FORM_PKCS1),
                        spki = pem_of(key, FORM_PUBLIC), rsa = pem_rsa_public(key);
    AUTO_BUF struct buf as_pkcs1 = relabelled(&pkcs8, " PRIVATE KEY", " RSA PRIVATE KEY"),
                        as_pkcs8 = relabelled(&pkcs1, " RSA PRIVATE KEY", " PRIVATE KEY"),
                        as_rsa = relabelled(&spki, " PUBLIC KEY", " RSA PUBLIC KEY"),
                        as_spki = relabelled(&rsa, " RSA PUBLIC KEY", " PUBLIC KEY");
    const struct buf *privates[] = {&as_pkcs1, &as_pkcs8}, *publics[] = {&rsa, &as_rsa, &as_spki};
    for (size_t i = 0; i < ARRAY_LENGTH(privates); i++) {
        char *error = NULL;
        AUTO(pkey_free_at)
        EVP_PKEY *again = key_private_parse(privates[i]->data, privates[i]->len, "t", &error);
        cr_assert_eq(EVP_PKEY_eq(again, key), 1, "%zu: %s", i, error);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(publics); i++) {
        char *error = NULL;
        AUTO(pkey_free_at)
        EVP_PKEY *again = key_public_parse(publics[i]->data, publics[i]->len, "t", &error);
        cr_assert_eq(EVP_PKEY_eq(again, key), 1, "%zu: %s", i, error);
    }
}

/* `pem` with another end of each line, each line begun with `before`; one line of base64 where
 * `end` is NULL. */
static struct buf reflowed(const struct buf *pem, const char *before, const char *end)
{
    struct buf out = {0};
    AUTO_FREE char *copy = mem_strdup(pem->data);
    char *rest = copy;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        bool label = line[0] == '-';
        buf_puts(&out, end == NULL && label && strstr(line, "END") != NULL ? "\n" : "");
        buf_puts(&out, before);
        buf_puts(&out, line);
        buf_puts(&out, end != NULL ? end : label ? "\n" : "");
    }
    return out;
}

Test(key, files_are_taken_as_editors_leave_them)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf pem = pem_of(key, FORM_PKCS8);
    AUTO_BUF struct buf dos = reflowed(&pem, "", "\r\n"), mac = reflowed(&pem, "", "\r"),
                        indented = reflowed(&pem, "  \t", "\n"),
                        trailing = reflowed(&pem, "", "  \n"), one_line = reflowed(&pem, "", NULL),
                        marked = {0}, unended = {0};
    buf_printf(&marked, "\xef\xbb\xbf%s", dos.data);
    buf_append(&unended, pem.data, pem.len - 1);
    const struct buf *texts[] = {&dos, &mac, &indented, &trailing, &one_line, &marked, &unended};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        char *error = NULL;
        AUTO(pkey_free_at)
        EVP_PKEY *again = key_private_parse(texts[i]->data, texts[i]->len, "t", &error);
        cr_assert_eq(EVP_PKEY_eq(again, key), 1, "text %zu: %s", i, error);
    }
}

Test(key, too_many_blocks_and_damaged_ones_of_other_kinds_are_named)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf plain = pem_of(key, FORM_PUBLIC), many = {0};
    for (int i = 0; i < 64; i++) {
        buf_append(&many, plain.data, plain.len);
    }
    AUTO_FREE char *most = NULL, *more = NULL;
    cr_assert_null(key_public_parse(many.data, many.len, "p", &most));
    cr_assert_str_eq(most, "p: holds 64 keys: leave the one of wechatpay_public_key_id");
    buf_append(&many, plain.data, plain.len);
    cr_assert_null(key_public_parse(many.data, many.len, "p", &more));
    cr_assert_str_eq(more, "p: holds more than 64 keys and certificates: leave old ones out");
    static const char other[] = "-----BEGIN X-----\nAAAA\n-----END Y-----\n";
    expect_private_refused(other, strlen(other),
                           "is a PEM file that is damaged: download or copy it again");
}

static struct buf pkcs12_of(EVP_PKEY *key)
{
    PKCS12 *archive = PKCS12_create("1", "n", key, NULL, NULL, 0, 0, 0, 0, 0);
    cr_assert_not_null(archive);
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_eq(i2d_PKCS12_bio(bio, archive), 1);
    PKCS12_free(archive);
    return pem_take(bio);
}

Test(key, what_is_no_PEM_text_is_named)
{
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO_BUF struct buf archive = pkcs12_of(key);
    expect_private_refused(archive.data, archive.len,
                           "holds a PKCS#12 archive: give the merchant's private key "
                           "(apiclient_key.pem), or convert it (openssl pkcs12 -nocerts -nodes -in "
                           "OLD -out NEW)");
    expect_certificates_refused(
        archive.data, archive.len,
        "c: holds a PKCS#12 archive: give a platform certificate of WeChat Pay");
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_eq(i2d_PrivateKey_bio(bio, key), 1);
    AUTO_BUF struct buf der = pem_take(bio);
    expect_private_refused(der.data, der.len,
                           "holds a key or certificate as DER: give the merchant's private key "
                           "(apiclient_key.pem), or convert it (openssl pkey -inform DER -in OLD "
                           "-out NEW)");
    expect_private_refused("\xff\xfe-\0-\0", 6, "is UTF-16 text: save it as UTF-8 or ASCII");
    static const char request[] = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"
                                  "-----END CERTIFICATE REQUEST-----\n";
    expect_private_refused(request, strlen(request),
                           "holds a certificate request: give the merchant's private key "
                           "(apiclient_key.pem)");
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
