/* The parts of `presignctl sandbox`, in the order in which a request meets them:
 *
 *   server -> connection -> http -> check -> fault -> reply -> ledger -> connection
 *
 * Each connection has a thread that processes its requests one by one. Threads share keys, schemas
 * and settings, which are read-only while the server runs, and nonces, faults, the platform and the
 * ledger, which are thread-safe.
 */
#ifndef PRESIGND_CTL_SANDBOX_H
#define PRESIGND_CTL_SANDBOX_H

#include "presignd/base/buf.h"
#include "presignd/base/loop.h"
#include "presignd/schema/schema.h"
#include "presignd/wechatpay/endpoint.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The server's, in DIR. */
#define SANDBOX_TLS_CERTIFICATE "server.pem"
#define SANDBOX_TLS_KEY         "server-key.pem"

#define SANDBOX_MERCHANTS_MAX 256
#define SANDBOX_SERIAL_SIZE   41
#define SANDBOX_KEY_ID_SIZE   41
/* A longer body gets 400. Bodies that match their schema are far shorter. */
#define SANDBOX_BODY_MAX 65536
/* The API's limits: ASCII letters and digits, at most 32. */
#define SANDBOX_CODE_SIZE  33
#define SANDBOX_NONCE_SIZE 33

/* ---- pem.c: creates keys and certificates */

/* A new RSA key of 2048 bits, as APIv3 uses, or a P-256 key for TLS. Aborts when OpenSSL fails. */
EVP_PKEY *sandbox_rsa_new(void);
EVP_PKEY *sandbox_tls_key_new(void);
void sandbox_pem_private(EVP_PKEY *key, struct buf *out);
void sandbox_pem_public(EVP_PKEY *key, struct buf *out);

struct sandbox_certificate {
    unsigned number; /* of certificates with one key: the serial depends on both */
    int64_t not_before_s, not_after_s; /* 0: since yesterday, for ten years */
    const char *common_name;
    const char *alternative_names; /* NULL: none */
    EVP_PKEY *key;
    const char *issuer_name;
    EVP_PKEY *issuer_key;
    bool authority;
};
void sandbox_pem_certificate(const struct sandbox_certificate *certificate, struct buf *out);
/* When the certificate in the PEM text is valid. False when there is none. */
bool sandbox_pem_validity(const struct buf *pem, int64_t *not_before_s, int64_t *not_after_s)
    __attribute__((warn_unused_result));
/* Whether the PEM text has a certificate with that key. */
bool sandbox_pem_belongs(const struct buf *pem, EVP_PKEY *key);
/* Whether the PEM file has a certificate for that host name or address. */
bool sandbox_pem_names(const char *path, const char *name);
/* Whether the name is an IPv4 or IPv6 address. */
bool sandbox_is_address(const char *name);
/* 20 bytes as upper-case hex, derived from the public key and the number: a certificate serial that
 * is the same at every start without being stored. */
void sandbox_serial(EVP_PKEY *key, unsigned number, char out[SANDBOX_SERIAL_SIZE]);

/* ---- keys.c: the keys in DIR */

struct sandbox_merchant {
    char *mchid;
    enum merchant_mode mode;
    char serial_no[SANDBOX_SERIAL_SIZE];
    EVP_PKEY *key; /* of the first certificate; the client signs with it */
};

enum sandbox_serial_mode { SERIAL_PUBLIC_KEY, SERIAL_CERTIFICATE, SERIAL_BOTH };

struct sandbox_platform;

struct sandbox_keys {
    char *dir;        /* absolute */
    const char *name; /* the server's, in base_url and its certificate */
    bool readable;    /* what the daemon reads is readable by all */
    enum sandbox_serial_mode serial_mode;
    bool serial_mode_given;
    struct sandbox_merchant merchants[SANDBOX_MERCHANTS_MAX];
    size_t merchant_count;
    EVP_PKEY *wechatpay; /* of the public key */
    char public_key_id[SANDBOX_KEY_ID_SIZE];
    struct sandbox_platform *platform;
};

/* MCHID:direct or MCHID:partner, before sandbox_keys_open(). NULL, or an error (free()). */
char *sandbox_keys_add(struct sandbox_keys *keys, const char *text)
    __attribute__((warn_unused_result));
/* Creates the directory and missing keys; reads existing keys. */
bool sandbox_keys_open(struct sandbox_keys *keys, const char *dir, char **error)
    __attribute__((warn_unused_result));
/* Writes DIR/sandbox.conf, the configuration with which a daemon calls `base_url`. */
bool sandbox_keys_configuration(const struct sandbox_keys *keys, const char *base_url, char **error)
    __attribute__((warn_unused_result));
const struct sandbox_merchant *sandbox_keys_find(const struct sandbox_keys *keys,
                                                 const char *mchid);
/* For files in DIR: whether it is there; write it (atomically: other programs wait for it to
 * appear); the RSA key in it, made if it is missing. False or NULL and an error (free()). */
bool sandbox_keys_has(const struct sandbox_keys *keys, const char *name);
bool sandbox_keys_save(const struct sandbox_keys *keys, const char *name, mode_t mode,
                       const struct buf *text, char **error) __attribute__((warn_unused_result));
EVP_PKEY *sandbox_keys_private(const struct sandbox_keys *keys, const char *name, mode_t mode,
                               char **error) __attribute__((warn_unused_result));
/* The mode of files with secrets that the daemon reads. */
mode_t sandbox_keys_mode(const struct sandbox_keys *keys);
#define SANDBOX_MODE_PRIVATE ((mode_t)0600)
#define SANDBOX_MODE_PUBLIC  ((mode_t)0644)
void sandbox_keys_deinit(struct sandbox_keys *keys);

/* ---- pair.c: a key and its certificate, in two files of DIR */

struct sandbox_pair {
    EVP_PKEY *key;
    char serial[SANDBOX_SERIAL_SIZE];
    struct buf pem;
    int64_t not_before_s, not_after_s;
};

struct sandbox_pair_files {
    const char *common_name;
    unsigned number;
    const char *key, *certificate; /* names in DIR */
    mode_t mode;                   /* of the key */
    int64_t not_before_s, not_after_s;
};

/* A file of DIR that is not empty. False and an error (free()). */
bool sandbox_file_read(const struct sandbox_keys *keys, const char *name, struct buf *out,
                       char **error) __attribute__((warn_unused_result));
/* Reads the pair, or makes what is missing; a certificate of another key is made again. False and
 * an error (free()); `pair` is not changed then. */
bool sandbox_pair_open(const struct sandbox_keys *keys, const struct sandbox_pair_files *files,
                       struct sandbox_pair *pair, char **error) __attribute__((warn_unused_result));
void sandbox_pair_deinit(struct sandbox_pair *pair);

/* ---- platform.c: what WeChat Pay has of each merchant. It may change at any time. */

#define SANDBOX_CERTIFICATES_MAX 16
#define SANDBOX_OWN_MAX          8 /* certificates of a merchant */
#define SANDBOX_APIV3_KEY_SIZE   33
#define SANDBOX_STATE_FILE       "platform.json"

struct sandbox_fault_kind;

struct sandbox_fault {
    const struct sandbox_fault_kind *kind; /* NULL: none */
    int64_t param;
};

struct sandbox_signer {
    EVP_PKEY *key;
    const char *serial; /* the value of Wechatpay-Serial */
};

/* What GET /v3/certificates answers. */
struct sandbox_list {
    const struct sandbox_pair *items[SANDBOX_CERTIFICATES_MAX];
    size_t count;
    char apiv3_key[SANDBOX_APIV3_KEY_SIZE];
    struct sandbox_fault fault;
};

/* Opens keys->platform: reads or makes certificates and APIv3 keys. */
bool sandbox_platform_open(struct sandbox_keys *keys, char **error)
    __attribute__((warn_unused_result));
struct sandbox_platform *sandbox_platform_free(struct sandbox_platform *platform);

/* The questions; any thread. An unknown merchant (NULL) is taken for the first. */

/* The key that signs the answer to a request with that Wechatpay-Serial (NULL: without). */
struct sandbox_signer sandbox_platform_signer(const struct sandbox_keys *keys,
                                              const struct sandbox_merchant *merchant,
                                              const char *asked);
/* False for a merchant that has a public key only, and no fault. */
bool sandbox_platform_list(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                           struct sandbox_list *list);
/* The fault of every call, whatever --fault says. */
struct sandbox_fault sandbox_platform_calls(const struct sandbox_keys *keys,
                                            const struct sandbox_merchant *merchant);
/* The key of the merchant's certificate with that serial. NULL: not one that is accepted. */
EVP_PKEY *sandbox_platform_merchant_key(const struct sandbox_keys *keys,
                                        const struct sandbox_merchant *merchant,
                                        const char *serial);
enum sandbox_serial_mode sandbox_platform_mode(const struct sandbox_keys *keys,
                                               const struct sandbox_merchant *merchant);
/* Whether the serial names one of WeChat Pay's keys. */
bool sandbox_platform_knows(const struct sandbox_keys *keys, const char *serial);

/* A certificate to make. */
#define SANDBOX_NOT_GIVEN INT64_MIN
struct sandbox_new {
    unsigned number;                /* 0: none */
    unsigned key;                   /* 0: a new one, else that number's */
    int64_t starts_in_s, ends_in_s; /* from now */
};

/* Numbers begin with 1; bit N-1 of a set stands for N. All zero changes nothing. */
struct sandbox_change {
    const struct sandbox_merchant *merchant; /* NULL: all */
    struct sandbox_new certificate, own;     /* own: the merchant's */
    enum sandbox_serial_mode mode;
    struct sandbox_fault list, calls;
    bool has_mode, has_list, has_calls;
    unsigned listed, accepted; /* sets; 0: not changed */
    unsigned signs;            /* 0: not changed */
    char apiv3_key[SANDBOX_APIV3_KEY_SIZE];
};

/* Applies the change (NULL: none) and stores it, and appends the state as JSON. Makes certificates
 * that it names and that are missing. False and an error (free()). Any thread. */
bool sandbox_platform_change(const struct sandbox_keys *keys, const struct sandbox_change *change,
                             struct buf *state, char **error) __attribute__((warn_unused_result));

/* ---- lever.c: changes as JSON */

/* NULL beyond the last one. */
const char *sandbox_serial_mode_name(size_t index);
bool sandbox_serial_mode_find(const char *name, enum sandbox_serial_mode *mode)
    __attribute__((warn_unused_result));
/* Applies the change in the body of a request, and appends the state. False and an error (free()).
 * Any thread. */
bool sandbox_lever_pull(const struct sandbox_keys *keys, const char *body, size_t len,
                        struct buf *state, char **error) __attribute__((warn_unused_result));
/* Brings back the state that DIR/platform.json holds. */
bool sandbox_lever_restore(const struct sandbox_keys *keys, char **error)
    __attribute__((warn_unused_result));

/* ---- list.c: the list's JSON, each certificate under AEAD_AES_256_GCM */

/* `fault` may spoil the list. */
void sandbox_list_body(const struct sandbox_list *list, struct sandbox_fault fault,
                       struct buf *out);

/* ---- nonce.c: accepts each nonce once */

/* The first 64 bits of the text's SHA-256. */
uint64_t sandbox_hash(const struct buf *text);

struct sandbox_nonces;
struct sandbox_nonces *sandbox_nonces_new(void);
struct sandbox_nonces *sandbox_nonces_free(struct sandbox_nonces *nonces);
/* False when this merchant has used the nonce before. Remembers at least the last
 * SANDBOX_NONCES_KEPT. Any thread. */
#define SANDBOX_NONCES_KEPT (1U << 20)
bool sandbox_nonces_add(struct sandbox_nonces *nonces, const char *mchid, const char *nonce)
    __attribute__((warn_unused_result));

/* ---- check.c: the API's rules */

/* Header values are NULL when absent. */
struct sandbox_request {
    const char *method, *path; /* with its query */
    const char *content_type, *accept, *user_agent, *authorization, *serial;
    const char *body;
    size_t body_len;
    bool body_too_large;
};

struct sandbox_verdict {
    const struct sandbox_merchant *merchant; /* NULL: none, or unknown */
    const struct endpoint *endpoint;         /* NULL: no such path */
    bool certificates;                       /* a valid request for the platform certificates */
    const char *asked_serial;                /* Wechatpay-Serial; NULL: none, or not a key's */
    char nonce[SANDBOX_NONCE_SIZE];          /* "" until Authorization was parsed */
    int64_t timestamp_s;
    bool signature_ok;
    char out_contract_code[SANDBOX_CODE_SIZE]; /* "" until the body was parsed */
    unsigned status;                           /* 0: the request is valid */
    const char *code;                          /* this and the rest: of the error body */
    const char *message, *field, *location;
    char *issue; /* free() */
};

struct sandbox_rules {
    const struct sandbox_keys *keys;
    struct sandbox_nonces *nonces;
    struct schema_set *set;
    const struct schema *schemas[ENDPOINT_COUNT];
};

/* Reads and compiles the schemas of requests. */
bool sandbox_rules_open(struct sandbox_rules *rules, const char *schema_dirs, char **error)
    __attribute__((warn_unused_result));
void sandbox_rules_deinit(struct sandbox_rules *rules);
/* Any thread. `verdict` must be all zero. */
void sandbox_check(const struct sandbox_rules *rules, const struct sandbox_request *request,
                   int64_t now_s, struct sandbox_verdict *verdict);

/* ---- fault.c: which fault a valid request gets */

/* What is done to the connection or the body, besides status and error body. */
enum sandbox_effect {
    EFFECT_NONE,
    EFFECT_RESET,
    EFFECT_DELAY,
    EFFECT_SLOW_BODY,
    EFFECT_UNSIGNED,
    EFFECT_BAD_SIGNATURE,
    EFFECT_SIGNATURE_TEST,
    EFFECT_MISSING_FIELD,
    EFFECT_HTML,
    EFFECT_TRUNCATED,
    EFFECT_GZIP,
    EFFECT_HUGE,
    EFFECT_BAD_TIMESTAMP,
    EFFECT_UNKNOWN_SERIAL,
    EFFECT_OTHER_TYPE,
    EFFECT_NO_TYPE,
    EFFECT_NOT_JSON,
    /* Of the list of certificates only. */
    EFFECT_LIST_EMPTY,
    EFFECT_LIST_CUT,
    EFFECT_LIST_ODD,
    EFFECT_LIST_SERIALS,
    EFFECT_LIST_MANY,
    EFFECT_CONTINUE,
    EFFECT_RATE,
    /* After the answer was sent, between requests. */
    EFFECT_CLOSE,
    EFFECT_TWICE,
    EFFECT_IDLE_CLOSE,
    EFFECT_IDLE_RESET,
    EFFECT_IDLE_400,
    EFFECT_IDLE_408,
    /* Chosen when the connection is accepted, before a merchant is known. Must be last. */
    EFFECT_UNASKED,
    EFFECT_ACCEPT_CLOSE,
    EFFECT_ACCEPT_RESET,
};

struct sandbox_fault_kind {
    const char *name;
    unsigned status;     /* 200: the good answer, changed by the effect */
    const char *code;    /* of the error body; NULL: no error body */
    const char *message; /* of the error body */
    const char *unit;    /* of PARAM; NULL: the kind takes no PARAM */
    int64_t param;       /* default of PARAM */
    bool acts;           /* an id is issued, whether or not the client learns it */
    bool is_signed;      /* gateways do not sign */
    enum sandbox_effect effect;
    const char *help;
};

static inline enum sandbox_effect sandbox_effect_of(struct sandbox_fault fault)
{
    return fault.kind == NULL ? EFFECT_NONE : fault.kind->effect;
}

struct sandbox_faults;
struct sandbox_faults *sandbox_faults_new(void);
struct sandbox_faults *sandbox_faults_free(struct sandbox_faults *faults);
/* KIND=SHARE[:PARAM][@MCHID]. NULL, or an error (free()). */
char *sandbox_faults_add(struct sandbox_faults *faults, const char *text)
    __attribute__((warn_unused_result));
/* Call before the first choice. NULL, or why the rules contradict each other (free()). */
char *sandbox_faults_begin(struct sandbox_faults *faults, const struct sandbox_keys *keys,
                           int64_t seed, bool by_code) __attribute__((warn_unused_result));
/* Counts a call of the code and chooses its fault. The same seed, merchant, code and call number
 * always give the same fault, except that the kind `rate` depends on the clock. Any thread. */
struct sandbox_fault sandbox_faults_choose(struct sandbox_faults *faults, const char *mchid,
                                           const char *code, int64_t mono_ms);
/* Counts a connection and chooses its fault by seed and connection number. One thread. */
struct sandbox_fault sandbox_faults_choose_connection(struct sandbox_faults *faults);
/* KIND[:PARAM], or "" for none, for each call (`list`: for each list of certificates). NULL, or an
 * error (free()). */
char *sandbox_fault_read(const char *text, bool list, struct sandbox_fault *fault)
    __attribute__((warn_unused_result));
/* The same text; nothing without a fault. */
void sandbox_fault_write(struct sandbox_fault fault, struct buf *out);
/* The table of kinds, for the help. */
void sandbox_faults_help(struct buf *out);

/* ---- reply.c: an answer as values */

#define SANDBOX_ID_SIZE 41

struct sandbox_reply {
    unsigned status;
    bool reset;       /* no answer at all */
    int64_t delay_ms; /* before the answer */
    int64_t body_ms;  /* duration of the body */
    size_t missing;   /* bytes that Content-Length counts but that are not sent */
    struct buf body;
    const char *content_type, *content_encoding, *location; /* NULL: left out */
    char request_id[SANDBOX_ID_SIZE];
    char issued_id[SANDBOX_ID_SIZE]; /* "" : none */
    int64_t retry_after_s;           /* -1: left out */
    const char *serial;              /* NULL: not signed, and the next three are empty */
    int64_t timestamp_s;
    char nonce[SANDBOX_ID_SIZE];
    struct buf signature;
    const char *signature_type; /* NULL: left out */
    bool publishable; /* complete, correctly signed, with every field: may become a result */
};

void sandbox_reply_make(const struct sandbox_keys *keys, const struct sandbox_verdict *verdict,
                        struct sandbox_fault fault, int64_t now_s, struct sandbox_reply *reply);
/* A good, signed answer without a request. Its id belongs to no contract. */
void sandbox_reply_unasked(const struct sandbox_keys *keys, int64_t now_s,
                           struct sandbox_reply *reply);
/* The answer to a request of SANDBOX_LEVER_PATH: the state, or {"error"}. `body` NULL: it was too
 * large. */
#define SANDBOX_LEVER_PATH "/sandbox"
void sandbox_reply_lever(const struct sandbox_keys *keys, const char *method,
                         const struct buf *body, struct sandbox_reply *reply);
void sandbox_reply_deinit(struct sandbox_reply *reply);

/* ---- http.c: HTTP/1.1 */

/* Pointers into the parsed text; NULL when absent. */
struct sandbox_head {
    const char *method, *path; /* with its query */
    const char *content_type, *accept, *user_agent, *authorization, *serial;
    const char *content_length, *transfer_encoding, *connection, *expect;
    int64_t body_len;
    bool keep_alive;
};

/* Parses a request's head up to the empty line; writes NULs into it. False when it is not HTTP/1.x,
 * or its body is not framed by Content-Length. */
bool sandbox_head_read(char *text, struct sandbox_head *head) __attribute__((warn_unused_result));
/* An answer's status line and headers, with the empty line. */
void sandbox_http_head(const struct sandbox_reply *reply, int64_t now_s, bool keep_alive,
                       struct buf *out);
/* A proxy's whole answer on an idle connection, or to an unreadable request, before it closes. */
void sandbox_http_idle(unsigned status, struct buf *out);

/* ---- ledger.c: a line for each request */

struct sandbox_entry {
    int64_t wall_ms;
    const struct sandbox_request *request;
    const struct sandbox_verdict *verdict;
    struct sandbox_fault fault;
    const struct sandbox_reply *reply;
};

/* Appends one line of JSON with one write(2), so that lines are never mixed. False with errno set.
 * Any thread. */
bool sandbox_ledger_write(int fd, const struct sandbox_entry *entry)
    __attribute__((warn_unused_result));

/* ---- server.c: HTTPS */

struct sandbox_settings {
    const struct sandbox_keys *keys;
    const struct sandbox_rules *rules;
    struct sandbox_faults *faults;
    int ledger_fd;
    int64_t delay_ms;
    int64_t max_requests; /* 0: no limit */
};

struct sandbox_server;
/* Whether the text is an IPv4 address, or localhost, and a port. */
bool sandbox_address_valid(const char *address_text, bool *loopback)
    __attribute__((warn_unused_result));
/* A listening socket on HOST:PORT; `*port` is the actual port. -1 and an error (free()). */
int sandbox_listen(const char *address_text, int *port, char **error)
    __attribute__((warn_unused_result));
/* Takes over the socket. Stops the loop with status 0 after settings->max_requests answers, and
 * with EX_UNAVAILABLE when the ledger cannot be written. NULL and an error (free()). */
struct sandbox_server *sandbox_server_new(struct loop *loop, int fd,
                                          const struct sandbox_settings *settings, char **error)
    __attribute__((warn_unused_result));
/* Call it in the loop's step: stops the loop when a limit is reached or the ledger failed. */
void sandbox_server_step(struct sandbox_server *server);
/* For connections: write to the ledger; count a sent answer. Any thread. */
void sandbox_server_note(struct sandbox_server *server, const struct sandbox_entry *entry);
void sandbox_server_answered(struct sandbox_server *server);
/* Ends every connection. Accepts NULL, returns NULL. */
struct sandbox_server *sandbox_server_free(struct sandbox_server *server);

/* ---- connection.c */

/* Serves one connection until it ends or `stop_fd` is readable, then closes `fd`. `fd` must be
 * non-blocking. */
void sandbox_connection_serve(struct sandbox_server *server,
                              const struct sandbox_settings *settings, SSL_CTX *tls, int fd,
                              int stop_fd, struct sandbox_fault fault);

#endif
