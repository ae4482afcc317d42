/* What the fuzz targets share: how an input is read, the rules that events are judged by, and the
 * checks that an outcome has to pass.
 *
 * A target is a function over bytes. libFuzzer calls it with inputs that it invents
 * (scripts/fuzz); in the other builds driver.c calls it with the seeds and the cases that were
 * found (the tests fuzz.TARGET). A target aborts when a promise is broken, also where nothing
 * crashes.
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

/* The target's own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(), in every build. */
#define PROMISE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

/* The wall clock of all targets: 2026-11-23T08:00:00Z. */
#define FUZZ_NOW_MS INT64_C(1795420800000)

/* An input that reads like a message of HTTP, so that a person can read and write one: lines
 * "NAME: VALUE", an empty line, then the body. A line without ": " is a header that is null; an
 * input without an empty line is all body. Each part is a block of its own size, so that a read
 * beyond its end is seen. */
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
/* A header's value as a string that goes with the message, NULL when it is absent or null. */
const char *fuzz_message_header(const struct fuzz_message *message, const char *name);

/* The product's schemas and two merchants without keys; made once. */
const struct admit_rules *fuzz_rules(void);
/* "failure.json" and the like, compiled. */
const struct schema *fuzz_schema(const char *name);

extern const struct complete_identity fuzz_identity;

/* An outcome is JSON, is what its schema says, and fits into a topic of a broker that was set up
 * with Kafka's defaults. */
void fuzz_expect_outcome(const struct job *job);

#endif
