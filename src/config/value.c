/* The types of values: text in, a field out, or what is wrong.
 *
 * What a message may quote is decided here. Paths are quoted only when they look like one:
 * somebody will paste a key where its path belongs, and logs keep what they are told.
 */
#include "config/table.h"

#include "presignd/base/address.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    QUOTED_MAX = 80,
    SECRET_MAX = 64 * 1024, /* a chain of certificates fits */
    APIV3_KEY_LEN = 32,
    CERTIFICATES_MAX = 16,
};

void config_cleanse(char *string)
{
    if (string != NULL) {
        explicit_bzero(string, strlen(string));
        free(string);
    }
}

static char *quoted_problem(const char *text, const char *problem)
{
    AUTO_BUF struct buf out = {0};
    buf_putc(&out, '"');
    text_clean(&out, text, strlen(text), QUOTED_MAX);
    buf_printf(&out, "\" %s", problem);
    return buf_take(&out);
}

static void store(void *field, char *string)
{
    memcpy(field, &string, sizeof string);
}

/* Names: 1 to `max` of letters, digits, `._-`. */
static bool plain_name(const char *text, size_t max)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strspn(text, letters);
    return len > 0 && len <= max && text[len] == '\0';
}

static char *parse_instance(const struct config_key *key, const char *text,
                            const struct config_sources *sources, void *field)
{
    (void)key, (void)sources;
    if (!plain_name(text, 64)) {
        return quoted_problem(text, "is not 1 to 64 letters, digits, points, '_' or '-'");
    }
    store(field, mem_strdup(text));
    return NULL;
}

/* As org.apache.kafka.common.internals.Topic has it. */
static char *parse_topic(const struct config_key *key, const char *text,
                         const struct config_sources *sources, void *field)
{
    (void)key, (void)sources;
    if (!plain_name(text, 249) || strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
        return quoted_problem(text, "is no topic name: 1 to 249 letters, digits, points, '_', '-'");
    }
    store(field, mem_strdup(text));
    return NULL;
}

static char *parse_paths(const struct config_key *key, const char *text,
                         const struct config_sources *sources, void *field)
{
    (void)key, (void)sources;
    if (*text == '\0' || *text == ':' || strstr(text, "::") != NULL ||
        text[strlen(text) - 1] == ':') {
        return quoted_problem(text, "holds an empty path: give directories parted by ':'");
    }
    store(field, mem_strdup(text));
    return NULL;
}

struct word {
    const char *text;
    bool value;
};

static bool find_word(const struct word *words, size_t count, const char *text, void *field)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal_nocase(words[i].text, text)) {
            *(bool *)field = words[i].value;
            return true;
        }
    }
    return false;
}

static char *parse_bool(const struct config_key *key, const char *text,
                        const struct config_sources *sources, void *field)
{
    static const struct word words[] = {
        {"yes", true}, {"true", true},   {"on", true},   {"1", true},
        {"no", false}, {"false", false}, {"off", false}, {"0", false},
    };
    (void)key, (void)sources;
    return find_word(words, ARRAY_LENGTH(words), text, field)
               ? NULL
               : quoted_problem(text, "is neither yes nor no");
}

static char *parse_mode(const struct config_key *key, const char *text,
                        const struct config_sources *sources, void *field)
{
    static const struct word words[] = {{"direct", false}, {"partner", true}};
    (void)key, (void)sources;
    return find_word(words, ARRAY_LENGTH(words), text, field)
               ? NULL
               : quoted_problem(text, "is neither direct nor partner");
}

static char *parse_int(const struct config_key *key, const char *text,
                       const struct config_sources *sources, void *field)
{
    (void)sources;
    if (text_int(text, key->min, key->max, field)) {
        return NULL;
    }
    AUTO_FREE char *problem = mem_printf(
        "is not an integer from %lld to %lld%s%s", (long long)key->min, (long long)key->max,
        key->unit == NULL ? "" : " ", key->unit == NULL ? "" : key->unit);
    return quoted_problem(text, problem);
}

static char *parse_listen(const struct config_key *key, const char *text,
                          const struct config_sources *sources, void *field)
{
    (void)key, (void)sources;
    union address address;
    if (*text != '\0' && !address_parse(text, &address)) {
        return quoted_problem(text, "is not ADDRESS:PORT or [ADDRESS]:PORT with a numeric "
                                    "address, nor unix:/PATH");
    }
    store(field, mem_strdup(text));
    return NULL;
}

/* What is right is known elsewhere: the room of keys judges it (wechatpay/merchant.h). */
static char *parse_text(const struct config_key *key, const char *text,
                        const struct config_sources *sources, void *field)
{
    (void)key, (void)sources;
    store(field, mem_strdup(text));
    return NULL;
}

/* Paths of endpoints begin with the slash that may end this URL. */
static char *parse_url(const struct config_key *key, const char *text,
                       const struct config_sources *sources, void *field)
{
    size_t len = strlen(text);
    (void)key, (void)sources;
    store(field, mem_dup(text, len > 0 && text[len - 1] == '/' ? len - 1 : len));
    return NULL;
}

char *config_slurp(const char *path, size_t max, char **content, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return mem_strdup(strerror(errno));
    }
    char *bytes = mem_alloc(max + 2);
    size_t have = 0;
    ssize_t got = 1;
    while (got > 0 && have <= max) {
        got = TEMP_FAILURE_RETRY(read(fd, bytes + have, max + 1 - have));
        have += got > 0 ? (size_t)got : 0;
    }
    int failure = errno;
    close(fd);
    bytes[have] = '\0';
    char *problem = got < 0                          ? mem_strdup(strerror(failure))
                    : have > max                     ? mem_printf("more than %zu bytes", max)
                    : memchr(bytes, 0, have) != NULL ? mem_strdup("holds a NUL byte")
                                                     : NULL;
    if (problem != NULL) {
        explicit_bzero(bytes, have);
        free(bytes);
        return problem;
    }
    *content = bytes;
    *len = have;
    return NULL;
}

/* Says why a file is of no use, naming it when that gives nothing away. */
static char *file_problem(const char *path, const char *reason)
{
    if (*path == '/' || *path == '.') {
        AUTO_BUF struct buf out = {0};
        text_clean(&out, path, strlen(path), 4096);
        return mem_printf("%s: %s", out.data, reason);
    }
    return mem_printf("the file cannot be read (%s): give a path, best with a '/' in front, or "
                      "@NAME of a credential",
                      reason);
}

/* NULL when the file can be opened for reading. */
static char *check_readable(const char *path)
{
    /* Nonblocking: a FIFO put there by mistake must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return file_problem(path, strerror(errno));
    }
    struct stat status;
    int failure = fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
    close(fd);
    return failure == 0 ? NULL : file_problem(path, strerror(failure));
}

/* Resolves @NAME to the credential's path; other text is copied. NULL, or what is wrong. */
static char *credential_path(const char *text, const struct config_sources *sources, char **path)
{
    const char *name = text + 1;
    if (*text != '@' || (sources->credentials_dir == NULL && sources->without_keys)) {
        *path = mem_strdup(text);
        return NULL;
    }
    if (*name == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return mem_strdup("is no name of a credential: @NAME, without a '/'");
    }
    if (sources->credentials_dir == NULL) {
        return mem_strdup("names a credential, but $CREDENTIALS_DIRECTORY is not set: see "
                          "LoadCredential= in systemd.exec(5)");
    }
    *path = mem_printf("%s/%s", sources->credentials_dir, name);
    return NULL;
}

/* A path, or a credential's, that can be read. */
static char *readable_path(const char *text, const struct config_sources *sources, char **path)
{
    *path = NULL;
    char *problem = credential_path(text, sources, path);
    if (*path != NULL && !sources->without_keys) {
        problem = check_readable(*path);
        if (problem != NULL) {
            free(*path);
            *path = NULL;
        }
    }
    return problem;
}

static char *parse_readable(const struct config_key *key, const char *text,
                            const struct config_sources *sources, void *field)
{
    char *path = NULL;
    char *problem = NULL;
    (void)key;
    if (*text == '\0') {
        path = mem_strdup("");
    } else {
        problem = readable_path(text, sources, &path);
    }
    if (problem == NULL) {
        store(field, path);
    }
    return problem;
}

static void cut_newline(char *content, size_t len)
{
    if (len > 0 && content[len - 1] == '\n') {
        content[len - 1] = '\0';
        if (len > 1 && content[len - 2] == '\r') {
            content[len - 2] = '\0';
        }
    }
}

/* A file's content without its last newline. */
static char *read_secret(const char *text, const struct config_sources *sources, char **content)
{
    AUTO_FREE char *path = NULL;
    char *problem = credential_path(text, sources, &path);
    if (path == NULL) {
        return problem;
    }
    size_t len = 0;
    AUTO_FREE char *reason = config_slurp(path, SECRET_MAX, content, &len);
    if (reason != NULL) {
        return file_problem(path, reason);
    }
    cut_newline(*content, len);
    return NULL;
}

static char *parse_property(const struct config_key *key, const char *text,
                            const struct config_sources *sources, void *field)
{
    (void)key;
    if (*text != '@' || (sources->credentials_dir == NULL && sources->without_keys)) {
        store(field, mem_strdup(text));
        return NULL;
    }
    char *content = NULL;
    char *problem = read_secret(text, sources, &content);
    if (problem == NULL) {
        store(field, content);
    }
    return problem;
}

static char *parse_apiv3_key(const struct config_key *key, const char *text,
                             const struct config_sources *sources, void *field)
{
    (void)key;
    if (*text == '\0' || sources->without_keys) {
        store(field, mem_strdup(""));
        return NULL;
    }
    char *content = NULL;
    char *problem = read_secret(text, sources, &content);
    if (content == NULL) {
        return problem;
    }
    if (strlen(content) != APIV3_KEY_LEN) {
        config_cleanse(content);
        return mem_strdup("names a file that does not hold an APIv3 key, 32 bytes");
    }
    store(field, content);
    return NULL;
}

/* Appends one path of the list, resolved. */
static char *add_certificate(struct buf *out, const char *bytes, size_t len,
                             const struct config_sources *sources)
{
    while (len > 0 && strchr(" \t", bytes[len - 1]) != NULL) {
        len--;
    }
    AUTO_FREE char *text = mem_dup(bytes, len);
    if (*text == '\0') {
        return mem_strdup("holds an empty path: off, or paths of PEM files, comma separated");
    }
    AUTO_FREE char *path = NULL;
    char *problem = readable_path(text, sources, &path);
    if (problem == NULL) {
        buf_printf(out, "%s%s", out->len == 0 ? "" : ",", path);
    }
    return problem;
}

static char *parse_certificates(const struct config_key *key, const char *text,
                                const struct config_sources *sources, void *field)
{
    (void)key;
    if (strcmp(text, "auto") == 0) {
        return mem_strdup("auto is not available yet: give paths of PEM files");
    }
    if (*text == '\0' || strcmp(text, "off") == 0) {
        store(field, mem_strdup("off"));
        return NULL;
    }
    AUTO_BUF struct buf out = {0};
    for (int i = 0; i < CERTIFICATES_MAX; i++) {
        text += strspn(text, " \t");
        size_t len = strcspn(text, ",");
        char *problem = add_certificate(&out, text, len, sources);
        if (problem != NULL) {
            return problem;
        }
        text += len;
        if (*text == '\0') {
            store(field, buf_take(&out));
            return NULL;
        }
        text++;
    }
    return mem_printf("holds more than %d files", CERTIFICATES_MAX);
}

const struct config_type
    config_type_instance = {"1 to 64 letters, digits, points, '_' or '-'", CONFIG_STORE_STRING,
                            parse_instance},
    config_type_topic = {"a topic's name", CONFIG_STORE_STRING, parse_topic},
    config_type_paths = {"directories, colon separated", CONFIG_STORE_STRING, parse_paths},
    config_type_path = {"a path or @NAME", CONFIG_STORE_STRING, parse_readable},
    config_type_bool = {"yes or no (also true, false, on, off, 1, 0)", CONFIG_STORE_BOOL,
                        parse_bool},
    config_type_mode = {"one of direct and partner", CONFIG_STORE_BOOL, parse_mode},
    config_type_int = {NULL, CONFIG_STORE_INT, parse_int},
    config_type_url = {"URL: https://HOST or https://HOST:PORT", CONFIG_STORE_STRING, parse_url},
    config_type_proxy = {"a URL", CONFIG_STORE_STRING, parse_text},
    config_type_listen = {"ADDRESS:PORT or [ADDRESS]:PORT, numeric, or unix:/PATH",
                          CONFIG_STORE_STRING, parse_listen},
    config_type_serial = {"hexadecimal digits", CONFIG_STORE_STRING, parse_text},
    config_type_key_id = {"text that begins with PUB_KEY_ID_", CONFIG_STORE_STRING, parse_text},
    config_type_apiv3_key = {"a path or @NAME", CONFIG_STORE_STRING, parse_apiv3_key},
    config_type_certificates = {"paths or @NAMEs, or off", CONFIG_STORE_STRING, parse_certificates},
    config_type_property = {"text or @NAME", CONFIG_STORE_STRING, parse_property};
