/* Why an event ends as a failure. The rows are in reason_rows.h. */
#ifndef PRESIGND_FLOW_REASON_H
#define PRESIGND_FLOW_REASON_H

#include <stdbool.h>

enum reason {
    REASON_NONE, /* no failure */
#define REASON(id, name, retryable, when, advice) REASON_##id,
#include "presignd/flow/reason_rows.h"
    REASON_COUNT
};

struct reason_row {
    const char *name;
    bool retryable;
    const char *when;
    const char *advice;
};

const struct reason_row *reason_row(enum reason reason);
const char *reason_name(enum reason reason);

#endif
