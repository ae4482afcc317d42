/* What the two socket pairs between the signer and the signing threads carry: SOCK_SEQPACKET, one
 * packet for each request and for each answer, in this machine's byte order. An empty packet is the
 * other side's end. */
#ifndef PRESIGND_SIGN_PACKETS_H
#define PRESIGND_SIGN_PACKETS_H

#include "presignd/sign/sign.h"

#include <stddef.h>
#include <stdint.h>

/* Of a packet to sign: a part of a string of `total` bytes, from `offset` on. Strings of up to
 * SIGN_PART_MAX bytes are one part. */
struct sign_request_head {
    uint64_t id;
    uint32_t key;
    uint32_t total, offset;
    uint32_t reserved;
};
#define SIGN_PART_MAX    ((size_t)80 * 1024)
#define SIGN_REQUEST_MAX (sizeof(struct sign_request_head) + SIGN_PART_MAX)
/* The largest body is that of the largest event (daemon.max_event_bytes). */
#define SIGN_STRING_MAX ((size_t)1024 * 1024 + SIGN_PART_MAX)

struct sign_answer {
    uint64_t id;
    uint8_t end, backend; /* enum sign_end, enum sign_backend */
    uint8_t mistake;      /* enum sign_end: of libcrypto_mb, before OpenSSL signed */
    uint8_t reserved;
    uint16_t len;
    char signature[SIGN_SIGNATURE_MAX]; /* base64, `len` bytes; the packet ends after them */
};

/* The pair for keys: a request, and where it says so one answer. The main process blocks. */
enum key_request_kind {
    KEY_LOAD,    /* path: a key's number and its public half (DER), or why not */
    KEY_UNLOAD,  /* number; no answer */
    KEY_THREADS, /* number: of threads; the answer's: whether all memory of keys is locked */
    KEY_BACKEND, /* number: enum backend_choice; the answer's: enum sign_backend, and its name or
                  * why not. Before the first key and thread */
};
struct key_request {
    uint32_t kind; /* enum key_request_kind */
    uint32_t number;
    char path[4096]; /* with its NUL; the packet ends after it */
};
struct key_answer {
    uint32_t ok;
    uint32_t number;
    char content[8192]; /* DER, or text without a NUL; the packet ends after it */
};

#endif
