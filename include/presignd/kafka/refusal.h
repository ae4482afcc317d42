/* Why brokers do not accept a record: because of the record, its partition or its topic. Pure.
 *
 * The code comes from a delivery report, from the metadata of a topic, or from an error of the
 * transaction. A code that is not in the table concerns the whole transaction.
 */
#ifndef PRESIGND_KAFKA_REFUSAL_H
#define PRESIGND_KAFKA_REFUSAL_H

/* REFUSAL_NONE: accepted, or nothing is known. */
enum refusal {
#define REFUSAL(id, ...) REFUSAL_##id,
#include "presignd/kafka/refusal_rows.h"
    REFUSAL_COUNT
};

enum refusal_scope {
    REFUSAL_OF_NOTHING,
    REFUSAL_OF_RECORD,
    REFUSAL_OF_PARTITION,
    REFUSAL_OF_TOPIC
};

struct refusal_row {
    const char *name;
    enum refusal_scope scope;
    const char *what, *setting, *mend; /* see refusal_rows.h */
};

const struct refusal_row *refusal_row(enum refusal refusal);
/* `code` is an rd_kafka_resp_err_t. */
enum refusal refusal_of_code(int code);

#endif
