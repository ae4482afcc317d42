#include "presignd/kafka/transaction.h"

#include <assert.h>

const char *transaction_verdict_name(enum transaction_verdict verdict)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        TRANSACTION_VERDICTS(NAME)
#undef NAME
    };
    assert(verdict < TRANSACTION_VERDICT_COUNT);
    return names[verdict];
}
