#include "presignd/flow/reason.h"

#include <assert.h>

static const struct reason_row rows[REASON_COUNT] = {
    [REASON_NONE] = {"none", false, "", ""},
#define REASON(id, name, retryable, when, advice) [REASON_##id] = {name, retryable, when, advice},
#include "presignd/flow/reason_rows.h"
};

const struct reason_row *reason_row(enum reason reason)
{
    assert(reason < REASON_COUNT);
    return &rows[reason];
}

const char *reason_name(enum reason reason)
{
    return reason_row(reason)->name;
}
