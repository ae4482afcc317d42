/* Decodes and admits a record with its headers and writes a failure, which must match its schema.
 */
#include "fuzz.h"

#include "presignd/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_MESSAGE struct fuzz_message message;
    fuzz_message_read(&message, data, size);
    struct record record = {.topic = "t",
                            .offset = 41,
                            .timestamp_ms = FUZZ_NOW_MS,
                            .value = message.body,
                            .value_len = message.body_len,
                            .headers = message.headers,
                            .header_count = message.header_count};
    struct job *job = job_new(&record);
    struct admission *admission = &job->admission;
    admit(fuzz_rules(), &record, FUZZ_NOW_MS, admission);
    if (admission->reason == REASON_NONE) {
        AUTO_JSON json_t *body =
            json_read(admission->body, admission->body_len, EVENT_NESTING_MAX, 0, NULL);
        PROMISE(body != NULL && json_equal(body, admission->event.data));
    }
    bool admitted = admission->reason == REASON_NONE;
    complete_failure(job, &fuzz_identity, admitted ? REASON_UNAVAILABLE : admission->reason,
                     admitted ? "as if no answer had come" : NULL, FUZZ_NOW_MS);
    fuzz_expect_outcome(job);
    job_free(job);
    return 0;
}
