/* Shared by the fuzz targets: reading of inputs, the rules of admission, checks of outcomes.
 *
 * A target is a function of bytes. libFuzzer calls it with generated inputs (scripts/fuzz). In the
 * other builds driver.c calls it with seeds and known cases (the tests fuzz.TARGET). A target
 * aborts when a property does not hold.
 */
#ifndef PRESIGND_TESTS_FUZZ_H
#define PRESIGND_TESTS_FUZZ_H

#include "presignd/flow/admit.h"
#include "presignd/flow/complete.h"
#include "presignd/flow/job.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Defined by each target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* assert() for every build. */
#define PROMISE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

/* The wall clock of all targets: 2026-11-23T08:00:00Z. */
#define FUZZ_NOW_MS INT64_C(1795420800000)

/* An input in the form of an HTTP message, which people can read and write: lines "NAME: VALUE", an
 * empty line, the body. A line without ": " is a null header. An input without an empty line is a
 * body only. Each part has its own block on the heap, so that sanitizers see overreads. */
#define FUZZ_HEADERS_MAX 1024
struct fuzz_message {
    struct record_header headers[FUZZ_HEADERS_MAX];
    size_t header_count;
    char *body;
    size_t body_len;
};
void fuzz_message_read(struct fuzz_message *message, const uint8_t *data, size_t size);
void fuzz_message_deinit(struct fuzz_message *message);
#define AUTO_MESSAGE __attribute__((cleanup(fuzz_message_deinit)))
/* The value of a header, borrowed; NULL when it is absent or null. */
const char *fuzz_message_header(const struct fuzz_message *message, const char *name);

/* The shipped schemas and two merchants without keys; made once. */
const struct admit_rules *fuzz_rules(void);
/* A compiled schema, such as "failure.json". */
const struct schema *fuzz_schema(const char *name);

extern const struct complete_identity fuzz_identity;

/* Aborts unless the outcome is JSON, matches its schema and fits a topic with Kafka's default
 * limits. */
void fuzz_expect_outcome(const struct job *job);

#endif
