#include "ctl/kit/outcome.h"

#include "presignd/base/text.h"

enum { OUTCOME_NESTING_MAX = 128 };

json_t *ctl_outcome_parse(const rd_kafka_message_t *message)
{
    if (message->payload == NULL ||
        text_json_nesting(message->payload, message->len) > OUTCOME_NESTING_MAX) {
        return NULL;
    }
    return json_loadb(message->payload, message->len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
                      NULL);
}

const char *ctl_outcome_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}
