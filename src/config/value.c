/* Messages quote a path only if it looks like one: people paste a key where its path belongs, and
 * messages are logged. */
#include "config/value.h"

#include "config/pasted.h"

#include "presignd/base/address.h"
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
    INSTANCE_MAX = 64,
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

/* A config_parse_fn, most of which need only some of its arguments. */
#define PARSER(name)                                                                          \
    static char *name(const struct config_key *key __attribute__((unused)), const char *text, \
                      const struct config_sources *sources __attribute__((unused)), void *field)

/* Puts a string into the field. Returns NULL: no problem. */
static char *store(void *field, char *string)
{
    memcpy(field, &string, sizeof string);
    return NULL;
}

/* Names: 1 to `max` of letters, digits, `._-`. */
static bool plain_name(const char *text, size_t max)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strspn(text, letters);
    return len > 0 && len <= max && text[len] == '\0';
}

/* gethostname(2) names these on a host that was given no name: every such host has them. */
static bool is_a_name_of_its_own(const char *host)
{
    return *host != '\0' && strcmp(host, "(none)") != 0 && !text_equal_nocase(host, "localhost") &&
           !text_prefix_nocase(host, strlen(host), "localhost.");
}

static char *shared_name(const char *what, const char *name)
{
    AUTO_BUF struct buf out = {0};
    text_clean(&out, name, strlen(name), QUOTED_MAX);
    return mem_printf("%s \"%s\", which other hosts have, too: set instance to a name that is "
                      "stable and unique, or give the host one (hostnamectl hostname NAME)",
                      what, out.data == NULL ? "" : out.data);
}

char *config_expand_instance(const char *text, const char *host, char **expanded)
{
    AUTO_BUF struct buf out = {0};
    for (; *text != '\0'; text++) {
        if (*text != '%') {
            buf_putc(&out, *text);
        } else if (*++text == '%') {
            buf_putc(&out, '%');
        } else if (*text != 'H') {
            return mem_strdup("holds a '%' that is neither %H, the name of this host, nor %%, "
                              "a percent sign");
        } else if (!is_a_name_of_its_own(host)) {
            return shared_name("%H is this host's name,", host);
        } else {
            buf_puts(&out, host);
        }
    }
    const char *name = out.data == NULL ? "" : out.data;
    if (*name != '\0' && !is_a_name_of_its_own(name)) {
        return shared_name("the name is", name);
    }
    if (!plain_name(name, INSTANCE_MAX)) {
        return quoted_problem(name, "is not 1 to 64 letters, digits, points, '_' or '-'; %H is "
                                    "the name of this host");
    }
    *expanded = mem_strdup(name);
    return NULL;
}

PARSER(parse_instance)
{
    char host[HOST_NAME_MAX + 1] = "";
    char *expanded = NULL;
    /* A name that was cut has no NUL. */
    if (gethostname(host, sizeof host - 1) != 0) {
        *host = '\0';
    }
    char *problem = config_expand_instance(text, host, &expanded);
    return problem == NULL ? store(field, expanded) : problem;
}

/* The rules of org.apache.kafka.common.internals.Topic. */
PARSER(parse_topic)
{
    bool ok = plain_name(text, 249) && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
    return ok ? store(field, mem_strdup(text))
              : quoted_problem(text,
                               "is not a topic name: 1 to 249 letters, digits, points, '_', '-'");
}

PARSER(parse_paths)
{
    bool ok = *text != '\0' && *text != ':' && strstr(text, "::") == NULL &&
              text[strlen(text) - 1] != ':';
    return ok ? store(field, mem_strdup(text))
              : quoted_problem(text, "has an empty path: give directories separated by ':'");
}

struct word {
    const char *text;
    bool value;
};

static bool find_word(const struct word *words, size_t count, const char *text, bool *value)
{
    for (size_t i = 0; i < count; i++) {
        if (text_equal_nocase(words[i].text, text)) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

PARSER(parse_bool)
{
    static const struct word words[] = {
        {"yes", true}, {"true", true},   {"on", true},   {"1", true},
        {"no", false}, {"false", false}, {"off", false}, {"0", false},
    };
    bool ok = find_word(words, ARRAY_LENGTH(words), text, field);
    return ok ? NULL : quoted_problem(text, "is neither yes nor no");
}

PARSER(parse_mode)
{
    static const struct word words[] = {{"direct", false}, {"partner", true}};
    bool ok = find_word(words, ARRAY_LENGTH(words), text, field);
    return ok ? NULL : quoted_problem(text, "is neither direct nor partner");
}

PARSER(parse_delivery)
{
    static const struct word words[] = {{"exactly_once", false}, {"at_least_once", true}};
    bool ok = find_word(words, ARRAY_LENGTH(words), text, field);
    return ok ? NULL : quoted_problem(text, "is neither exactly_once nor at_least_once");
}

PARSER(parse_sign_backend)
{
    bool ok =
        strcmp(text, "auto") == 0 || strcmp(text, "openssl") == 0 || strcmp(text, "crypto_mb") == 0;
    return ok ? store(field, mem_strdup(text))
              : quoted_problem(text, "is none of auto, openssl and crypto_mb");
}

PARSER(parse_int)
{
    if (text_int(text, key->min, key->max, field)) {
        return NULL;
    }
    AUTO_FREE char *problem = mem_printf(
        "is not an integer from %lld to %lld%s%s", (long long)key->min, (long long)key->max,
        key->unit == NULL ? "" : " ", key->unit == NULL ? "" : key->unit);
    return quoted_problem(text, problem);
}

PARSER(parse_listen)
{
    union address address;
    bool ok = *text == '\0' || address_parse(text, &address);
    return ok ? store(field, mem_strdup(text))
              : quoted_problem(text, "is not ADDRESS:PORT or [ADDRESS]:PORT with a numeric "
                                     "address, nor unix:/PATH");
}

/* systemd writes ':' between several directories; `auto` is in the first. */
static char *first_directory(const char *directories)
{
    return directories == NULL ? mem_strdup("") : mem_dup(directories, strcspn(directories, ":"));
}

PARSER(parse_state_dir)
{
    if (strcmp(text, "auto") == 0) {
        return store(field, first_directory(sources->state_dir));
    }
    return *text == '\0' || *text == '/'
               ? store(field, mem_strdup(text))
               : quoted_problem(text, "is neither auto nor an absolute path");
}

PARSER(parse_control_socket)
{
    union address address;
    AUTO_FREE char *directory = first_directory(sources->runtime_dir);
    AUTO_FREE char *path = strcmp(text, "auto") != 0 ? mem_strdup(text)
                           : *directory == '\0'      ? mem_strdup("")
                                                     : mem_printf("%s/control.sock", directory);
    AUTO_FREE char *listen = mem_printf(ADDRESS_UNIX_PREFIX "%s", path);
    return *path == '\0' || address_parse(listen, &address)
               ? store(field, mem_strdup(path))
               : quoted_problem(text, "is neither auto nor an absolute path of at most 107 bytes");
}

/* wechatpay/ checks these. */
PARSER(parse_text)
{
    return store(field, mem_strdup(text));
}

/* Without the slash at its end: the paths of endpoints begin with one. */
PARSER(parse_url)
{
    size_t len = strlen(text);
    return store(field, mem_dup(text, len > 0 && text[len - 1] == '/' ? len - 1 : len));
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

/* How a credential gets to the service. `name`: without the @; a file's name. */
static char *credential_hint(const char *name)
{
    AUTO_BUF struct buf out = {0};
    text_clean(&out, name, strlen(name), QUOTED_MAX);
    return mem_printf("for the service, add LoadCredential=%s:/etc/presignd/keys/%s with systemctl "
                      "edit presignd, and restart it: systemd reads credentials only at a start",
                      out.data, out.data);
}

/* Its mode lets us read it, and the system does not: see src/daemon/confinement.c. */
static bool is_hidden(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool hidden = fd < 0 && errno == EACCES && access(path, R_OK) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return hidden;
}

/* Names the file only if the text looks like a path. `text`: as configured, of which `path` came.
 */
static char *file_problem(const char *text, const char *path, const char *reason)
{
    if (*text == '@' && access(path, F_OK) != 0 && errno == ENOENT) {
        AUTO_FREE char *hint = credential_hint(text + 1);
        return mem_printf("%s: %s: %s", path, reason, hint);
    }
    if (*text == '@' && is_hidden(path)) {
        return mem_printf("%s: %s: with sign_process, a credential that only private_key named at "
                          "the start, or nothing did, can be read after a restart only",
                          path, reason);
    }
    if (*path == '/' || *path == '.') {
        AUTO_BUF struct buf out = {0};
        text_clean(&out, path, strlen(path), 4096);
        return mem_printf("%s: %s", out.data, reason);
    }
    return mem_printf("the file cannot be read (%s): give an absolute path, or @NAME of a "
                      "credential",
                      reason);
}

/* NULL when the file can be opened for reading. */
static char *check_readable(const char *text, const char *path)
{
    /* Non-blocking, so that a FIFO does not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return file_problem(text, path, strerror(errno));
    }
    struct stat status;
    int failure = fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
    close(fd);
    return failure == 0 ? NULL : file_problem(text, path, strerror(failure));
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
        return mem_strdup("is not a credential's name: @NAME, without a '/'");
    }
    if (sources->credentials_dir == NULL) {
        AUTO_FREE char *hint = credential_hint(name);
        return mem_printf("names a credential, but $CREDENTIALS_DIRECTORY is not set: %s", hint);
    }
    *path = mem_printf("%s/%s", sources->credentials_dir, name);
    if (sources->named != NULL) {
        buf_printf(sources->named, "%s\n", *path);
    }
    return NULL;
}

/* Also a key that was pasted in the place of its path: it is not quoted. */
static char *not_absolute(const char *text)
{
    return *text == '/' || *text == '@'
               ? NULL
               : mem_strdup("is not an absolute path, and a service's directory is /: give /PATH, "
                            "or @NAME of a credential");
}

/* A path, or a credential's, that can be read. */
static char *readable_path(const char *text, const struct config_sources *sources, char **path)
{
    *path = NULL;
    char *problem = sources->without_keys ? NULL : not_absolute(text);
    problem = problem != NULL ? problem : credential_path(text, sources, path);
    if (*path != NULL && !sources->without_keys) {
        problem = check_readable(text, *path);
        if (problem != NULL) {
            free(*path);
            *path = NULL;
        }
    }
    return problem;
}

PARSER(parse_readable)
{
    char *path = NULL;
    if (*text == '\0') {
        return store(field, mem_strdup(""));
    }
    char *problem = readable_path(text, sources, &path);
    return problem == NULL ? store(field, path) : problem;
}

/* The daemon's signing process opens the file, and the daemon itself may not. */
PARSER(parse_private_key)
{
    struct config_sources unnamed = *sources;
    unnamed.named = NULL;
    char *path = NULL;
    if (*text == '\0') {
        return store(field, mem_strdup(""));
    }
    char *problem = sources->without_keys ? NULL : not_absolute(text);
    problem = problem != NULL ? problem : credential_path(text, &unnamed, &path);
    if (path != NULL && !sources->without_keys && access(path, R_OK) != 0) {
        AUTO_FREE char *closed = path;
        return file_problem(text, closed, strerror(errno));
    }
    return problem == NULL ? store(field, path) : problem;
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
        return file_problem(text, path, reason);
    }
    cut_newline(*content, len);
    AUTO_FREE char *pasted = config_pasted_file(*content);
    if (pasted != NULL) {
        config_cleanse(*content);
        *content = NULL;
        return file_problem(text, path, pasted);
    }
    return NULL;
}

PARSER(parse_property)
{
    char *pasted = config_pasted_value(text);
    if (pasted != NULL || *text != '@' ||
        (sources->credentials_dir == NULL && sources->without_keys)) {
        return pasted != NULL ? pasted : store(field, mem_strdup(text));
    }
    char *content = NULL;
    char *problem = read_secret(text, sources, &content);
    return problem == NULL ? store(field, content) : problem;
}

PARSER(parse_apiv3_key)
{
    if (*text == '\0' || sources->without_keys) {
        return store(field, mem_strdup(text));
    }
    char *content = NULL;
    char *problem = not_absolute(text);
    problem = problem != NULL ? problem : read_secret(text, sources, &content);
    if (content == NULL) {
        return problem;
    }
    if (strlen(content) != APIV3_KEY_LEN) {
        config_cleanse(content);
        return mem_strdup("the file does not hold an APIv3 key of 32 bytes");
    }
    return store(field, content);
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
        return mem_strdup("has an empty path: off, auto, or paths of PEM files, comma separated");
    }
    if (strcmp(text, "auto") == 0 || strcmp(text, "off") == 0) {
        return mem_printf("%s stands alone: leave the paths out, or give paths only", text);
    }
    AUTO_FREE char *path = NULL;
    char *problem = readable_path(text, sources, &path);
    if (problem == NULL) {
        buf_printf(out, "%s%s", out->len == 0 ? "" : ",", path);
    }
    return problem;
}

PARSER(parse_certificates)
{
    if (strcmp(text, "auto") == 0) {
        return store(field, mem_strdup("auto"));
    }
    if (*text == '\0' || strcmp(text, "off") == 0) {
        return store(field, mem_strdup("off"));
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
            return store(field, buf_take(&out));
        }
        text++;
    }
    return mem_printf("holds more than %d files", CERTIFICATES_MAX);
}

#define TYPE(name, field, parser, what) \
    const struct config_type config_type_##name = {(what), CONFIG_STORE_##field, (parser)};
TYPE(instance, STRING, parse_instance, "1 to 64 letters, digits, points, '_' or '-', once expanded")
TYPE(topic, STRING, parse_topic, "a topic's name")
TYPE(paths, STRING, parse_paths, "directories, colon separated")
TYPE(path, STRING, parse_readable, "an absolute path or @NAME")
TYPE(private_key, STRING, parse_private_key, "an absolute path or @NAME")
TYPE(flag, BOOL, parse_bool, "yes or no (also true, false, on, off, 1, 0)")
TYPE(mode, BOOL, parse_mode, "one of direct and partner")
TYPE(delivery, BOOL, parse_delivery, "one of exactly_once and at_least_once")
TYPE(sign_backend, STRING, parse_sign_backend, "one of auto, openssl and crypto_mb")
TYPE(int, INT, parse_int, NULL)
TYPE(url, STRING, parse_url, "URL: https://HOST or https://HOST:PORT")
TYPE(proxy, STRING, parse_text, "a URL")
TYPE(listen, STRING, parse_listen, "ADDRESS:PORT or [ADDRESS]:PORT, numeric, or unix:/PATH")
TYPE(serial, STRING, parse_text, "hexadecimal digits")
TYPE(key_id, STRING, parse_text, "text that begins with PUB_KEY_ID_")
TYPE(apiv3_key, STRING, parse_apiv3_key, "an absolute path or @NAME")
TYPE(certificates, STRING, parse_certificates, "off, auto, or absolute paths or @NAMEs")
TYPE(control_socket, STRING, parse_control_socket, "auto, an absolute path, or empty")
TYPE(state_dir, STRING, parse_state_dir, "auto, an absolute path, or empty")
TYPE(property, STRING, parse_property, "text or @NAME")
