/* Why an outcome was not taken: by itself, by its partition, or by its whole topic. Pure.
 *
 * A delivery report, the broker's word on a topic, or an error of the transaction gives a code;
 * the table says whom it concerns. A code that is not in the table concerns the transaction.
 */
#ifndef PRESIGND_KAFKA_REFUSAL_H
#define PRESIGND_KAFKA_REFUSAL_H

#include <stdbool.h>

enum refusal {
    REFUSAL_NONE, /* taken, or nothing is known of it */
    /* The record. A broker answers for a whole request: all of its records have the refusal. */
    REFUSAL_SIZE,
    REFUSAL_RECORD,
    REFUSAL_TIMESTAMP,
    /* Its partition. */
    REFUSAL_NO_LEADER,
    REFUSAL_NO_REPLICAS,
    REFUSAL_SILENT, /* there is a leader, and no answer for long */
    /* Its topic. */
    REFUSAL_NO_TOPIC,
    REFUSAL_NO_RIGHT,
    REFUSAL_FORMAT,
    REFUSAL_COUNT
};

enum refusal_scope { REFUSAL_OF_NOBODY, REFUSAL_OF_RECORD, REFUSAL_OF_PARTITION, REFUSAL_OF_TOPIC };

struct refusal_row {
    const char *name; /* as in metrics and fields */
    enum refusal_scope scope;
    const char *what;    /* is wrong */
    const char *setting; /* in two words, for a line of status */
    const char *mend;    /* the setting or the act that changes it */
};

const struct refusal_row *refusal_row(enum refusal refusal);
/* `code` is an rd_kafka_resp_err_t. */
enum refusal refusal_of_code(int code);

#endif
