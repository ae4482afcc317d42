#include "presignd/base/record.h"

#include <string.h>

size_t record_size(const struct record *record)
{
    size_t size = record->key_len + record->value_len;
    for (size_t i = 0; i < record->header_count; i++) {
        size += strlen(record->headers[i].name) + record->headers[i].value_len;
    }
    return size;
}
