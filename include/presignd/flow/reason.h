/* Why an event ends as a failure. The rows are in reason_rows.h. */
#ifndef PRESIGND_FLOW_REASON_H
#define PRESIGND_FLOW_REASON_H

#include <stdbool.h>

enum reason {
    REASON_NONE, /* no failure */
#define REASON(id, ...) REASON_##id,
#include "presignd/flow/reason_rows.h"
    REASON_COUNT
};

/* Who must act: the program that sent the event, the operator of presignd, or nobody here, since
 * WeChat Pay or the way to it failed. */
enum reason_side { REASON_SIDE_SENDER, REASON_SIDE_OPERATOR, REASON_SIDE_WECHATPAY };

struct reason_row {
    const char *name;
    bool retryable;
    enum reason_side side;
    const char *when;
    const char *advice;
};

const struct reason_row *reason_row(enum reason reason);
const char *reason_name(enum reason reason);
/* As in metrics: sender, operator, wechatpay. */
const char *reason_side_name(enum reason reason);

#endif
