/* Everything that a start loads: configuration, schemas, keys, Kafka properties. Loaded whole
 * or not at all, with every reason. A reload loads a second one beside the first. */
#ifndef PRESIGND_SETUP_SETUP_H
#define PRESIGND_SETUP_SETUP_H

#include "presignd/config/config.h"
#include "presignd/flow/admit.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/properties.h"
#include "presignd/schema/schema.h"
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
    struct buf warnings; /* what is allowed and unwise, a line each, for log and terminal */
};

/* Reads files (blocks). NULL, and every problem on a line of its own in `errors`, with the file
 * and line of the key that is to be changed. What this takes, a start takes too, but for what
 * only the world can refuse (a port in use, a broker): Kafka clients are made for trial, which
 * contact nobody. */
struct setup *setup_load(const struct config_sources *sources, struct buf *errors)
    __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct setup *setup_free(struct setup *setup);

/* The pipeline's rules by this setup; `identity` is the caller's. */
struct pipeline_rules setup_rules(const struct setup *setup,
                                  const struct complete_identity *identity);
/* File descriptors that a process needs with it: a connection for each call, and for Kafka's
 * clients, the admin listener, resolvers and files SETUP_DESCRIPTORS_RESERVE. */
uint64_t setup_descriptors(const struct setup *setup);
/* What a start would do, a line each, for people; no secret. */
void setup_describe(const struct setup *setup, struct buf *out);

#endif
