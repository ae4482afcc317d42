#include "presignd/readiness.h"

#include <stddef.h>

/* A single abort is no news. */
#define UNREADY_MS          INT64_C(10000)
#define TRANSACTION_SLOW_MS INT64_C(30000)

const char *readiness_unready(const struct readiness_facts *facts)
{
    return facts->stopping                                ? "stopping"
           : facts->subscription != NULL                  ? facts->subscription
           : !facts->joined && facts->join_waits != NULL  ? facts->join_waits
           : !facts->joined                               ? "the group is not joined"
           : facts->endpoint_down                         ? "the endpoint is down"
           : facts->transaction_ms >= TRANSACTION_SLOW_MS ? "a transaction does not end"
           : facts->id_missing_ms >= UNREADY_MS           ? "transactions cannot begin"
           : facts->transactions_fail_ms >= UNREADY_MS    ? "transactions fail"
                                                          : NULL;
}
