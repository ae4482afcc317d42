/* How often an outcome is published: [daemon] delivery. */
#ifndef PRESIGND_KAFKA_DELIVERY_H
#define PRESIGND_KAFKA_DELIVERY_H

enum delivery {
    DELIVERY_EXACTLY_ONCE,  /* outcomes and positions in one transaction */
    DELIVERY_AT_LEAST_ONCE, /* positions after the outcomes; for brokers without transactions */
};

/* As the configuration, the metrics and the status write it. */
static inline const char *delivery_name(enum delivery delivery)
{
    return delivery == DELIVERY_AT_LEAST_ONCE ? "at_least_once" : "exactly_once";
}

#endif
