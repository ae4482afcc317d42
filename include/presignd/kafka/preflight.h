/* What the preflight has found out about the cluster: one finding for each check, or several, each
 * with its subject. Pure. producer_preflight() makes the findings; presignd joins the group once
 * nothing blocks, and `presignctl check --online` prints them.
 *
 * Checks test what brokers do, never their version: the library shows no version, and brokers of
 * other makers announce features that they do not have.
 */
#ifndef PRESIGND_KAFKA_PREFLIGHT_H
#define PRESIGND_KAFKA_PREFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum preflight_check {
#define PREFLIGHT(id, ...) PREFLIGHT_##id,
#include "presignd/kafka/preflight_rows.h"
    PREFLIGHT_CHECKS
};

struct preflight_row {
    const char *name;
    const char *process_state; /* "preflight: NAME": what /status says while it blocks */
    bool blocks;
    const char *should, *why; /* see preflight_rows.h */
};

const struct preflight_row *preflight_row(enum preflight_check check);

/* From good to bad. */
enum preflight_state {
    PREFLIGHT_PASSED,
    PREFLIGHT_UNKNOWN, /* not checked, or our user may not see it. Never blocks */
    PREFLIGHT_WAITING, /* no final answer yet: a coordinator is loading, or brokers are away */
    PREFLIGHT_MISSING,
};

#define PREFLIGHT_FINDINGS_MAX 24

struct preflight_finding {
    enum preflight_check check;
    enum preflight_state state;
    bool blocks;       /* while it has not passed */
    char subject[256]; /* of several findings of a check; "" for the only one */
    char is[320];      /* what was seen, cleaned; names the subject */
    char mend[320];    /* "" when it has passed */
};

struct preflight {
    struct preflight_finding findings[PREFLIGHT_FINDINGS_MAX];
    size_t count;
    bool fenced; /* another process took the transactional.id meanwhile */
};

/* Adds a finding, or replaces the one of that check and subject; NULL when there is no room. It
 * blocks when its check does. `format` makes `is`. */
struct preflight_finding *preflight_put(struct preflight *preflight, enum preflight_check check,
                                        const char *subject, enum preflight_state state,
                                        const char *mend, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* The finding of PREFLIGHT_METADATA_BYTES: the broker accepts `bytes` of metadata with an offset
 * (0: fewer than TRANSACTION_METADATA_MIN), a full window needs `wanted`. */
struct preflight_finding *preflight_put_metadata(struct preflight *preflight, int64_t bytes,
                                                 size_t wanted);
/* The worst finding of a check; NULL: there is none. */
const struct preflight_finding *preflight_worst(const struct preflight *preflight,
                                                enum preflight_check check);
const struct preflight_finding *preflight_find(const struct preflight *preflight,
                                               enum preflight_check check, const char *subject);
/* The first finding, in the order of the table, for which the group is not joined; NULL: there is
 * none. */
const struct preflight_finding *preflight_blocking(const struct preflight *preflight);
/* When to look again: soon while no broker has given a final answer, else after 30 s. */
int64_t preflight_pause_ms(const struct preflight *preflight);

#endif
