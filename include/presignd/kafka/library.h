/* What the loaded librdkafka needs of us. src/kafka/library.c has the table: a row for each
 * workaround, with the versions that need it and its source. Code asks here if its workaround costs
 * something, or would change what other versions do. Any thread; nothing blocks.
 */
#ifndef PRESIGND_KAFKA_LIBRARY_H
#define PRESIGND_KAFKA_LIBRARY_H

#include <stdbool.h>

enum library_need {
    LIBRARY_RETRY_BACKOFF_MAX,
    LIBRARY_GROUP_PROTOCOL,
    LIBRARY_MOCK_WITHOUT_CRC,
    LIBRARY_TIMER_SLACK,
};

/* Of the library that is loaded, which may be newer than the one that presignd was built with. */
bool library_needs(enum library_need need);
/* `version` is as rd_kafka_version() returns it: 0x020f01ff is 2.15.1. */
bool library_version_needs(enum library_need need, unsigned version);
/* Of the library that is loaded, such as "2.15.1". Static text. */
const char *library_version(void);

#endif
