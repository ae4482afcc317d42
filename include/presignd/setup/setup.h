/* Everything that a start loads: configuration, schemas, keys, Kafka properties. Loading is all or
 * nothing, and reports all problems. A reload loads a second setup. */
#ifndef PRESIGND_SETUP_SETUP_H
#define PRESIGND_SETUP_SETUP_H

#include "presignd/config/config.h"
#include "presignd/flow/admit.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/delivery.h"
#include "presignd/kafka/properties.h"
#include "presignd/schema/schema.h"
#include "presignd/sign/service.h"
#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/merchant.h"

#include <stdint.h>

#define SETUP_DESCRIPTORS_RESERVE 256

struct setup {
    struct config *config;
    struct schema_set *schemas;
    struct merchants *merchants;
    struct admit_rules admit; /* borrows from the others */
    struct kafka_property *properties;
    size_t property_count;
    struct caller_config caller;
    unsigned host_count;
    struct buf warnings; /* allowed but unwise, one line each */
};

/* Reads files (blocks). `errors` is empty at the call. NULL with problems: `errors` gets one line
 * for each, with file and line of the key to change. After a success, a start fails only for causes
 * outside the configuration (a port in use, a broker). Kafka clients are created for trial and
 * connect to nothing. */
struct setup *setup_load(const struct config_sources *sources, struct buf *errors)
    __attribute__((warn_unused_result));
/* The same in two steps, for a process whose private keys are elsewhere: the configuration alone,
 * then the rest with `service`, which reads the private keys (NULL: it does so itself). Never NULL;
 * with problems in `errors`, the second step finds further ones. */
struct setup *setup_read(const struct config_sources *sources, struct buf *errors)
    __attribute__((warn_unused_result));
/* Takes over `setup`; `errors` as setup_read() left it. */
struct setup *setup_complete(struct setup *setup, const struct config_sources *sources,
                             struct sign_service *service, struct buf *errors)
    __attribute__((warn_unused_result));
/* At the start, between the two: lets the service sign by daemon.sign_backend. What signs, for
 * people (free()); NULL with a problem. */
char *setup_choose_backend(const struct setup *setup, struct sign_service *service,
                           struct buf *errors) __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct setup *setup_free(struct setup *setup);

/* The pipeline's rules. `identity` is borrowed. */
struct pipeline_rules setup_rules(const struct setup *setup,
                                  const struct complete_identity *identity);
enum delivery setup_delivery(const struct setup *setup);
/* File descriptors that the process needs: one for each call in flight, and
 * SETUP_DESCRIPTORS_RESERVE for Kafka's clients, the admin listener, resolvers and files. */
uint64_t setup_descriptors(const struct setup *setup);
/* Warns, once, when a process that may open `limit` of them has too few. `who`: whose limit it is.
 */
void setup_check_descriptors(struct setup *setup, uint64_t limit, const char *who);
/* Describes what a start uses, for people, without secrets. */
void setup_describe(const struct setup *setup, struct buf *out);

#endif
