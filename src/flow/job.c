#include "presignd/flow/job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *job_state_name(enum job_state state)
{
#define NAME(state, name) name,
    static const char *const names[] = {JOB_STATES(NAME)};
#undef NAME
    return names[state];
}

/* One allocation: the headers, then topic, key, value and the headers' bytes. */
static void copy_record(struct job *job, const struct record *record)
{
    size_t size = record->header_count * sizeof(struct record_header) + record->key_len +
                  record->value_len + strlen(record->topic) + 1;
    for (size_t i = 0; i < record->header_count; i++) {
        size += strlen(record->headers[i].name) + 1 + record->headers[i].value_len;
    }
    struct record_header *headers = job->bytes = mem_alloc(size);
    char *end = (char *)(headers + record->header_count);
    job->record = *record;
    job->record.headers = headers;
#define COPY(target, source, len)         \
    do {                                  \
        if ((source) != NULL) {           \
            memcpy(end, (source), (len)); \
            (target) = end;               \
            end += (len);                 \
        }                                 \
    } while (0)
    COPY(job->record.topic, record->topic, strlen(record->topic) + 1);
    COPY(job->record.key, record->key, record->key_len);
    COPY(job->record.value, record->value, record->value_len);
    for (size_t i = 0; i < record->header_count; i++) {
        headers[i] = record->headers[i];
        COPY(headers[i].name, record->headers[i].name, strlen(record->headers[i].name) + 1);
        COPY(headers[i].value, record->headers[i].value, record->headers[i].value_len);
    }
#undef COPY
    job->copied = size;
}

struct job *job_new(const struct record *record)
{
    struct job *job = mem_zalloc(1, sizeof *job);
    copy_record(job, record);
    /* The body and the event's strings are copies of the same bytes. */
    job->parsed = job->copied;
    return job;
}

size_t job_bytes(const struct job *job)
{
    return sizeof *job + job->copied + job->parsed + job->outcome.value.len;
}

size_t job_outcome_bytes(const struct job *job)
{
    return job->outcome.value.len + job->record.key_len;
}

enum output_topic job_topic(const struct job *job)
{
    return job->reason == REASON_NONE ? OUTPUT_RESULTS : OUTPUT_FAILURES;
}

/* Keeps only coordinates and key of the record. */
static void drop_content(struct job *job)
{
    void *whole = job->bytes;
    struct record bare = job->record;
    bare.value = NULL;
    bare.value_len = 0;
    bare.headers = NULL;
    bare.header_count = 0;
    copy_record(job, &bare);
    free(whole);
}

static size_t text_bytes(const char *text)
{
    return text == NULL ? 0 : strlen(text) + 1;
}

void job_keep_outcome(struct job *job)
{
    const struct event *event = &job->admission.event;
    free(job->admission.body);
    free(job->admission.request_members);
    free(job->answer.body);
    free(job->answer.id_value);
    job->admission.body = job->admission.request_members = NULL;
    job->answer.body = job->answer.id_value = NULL;
    job->admission.body_len = job->answer.body_len = 0;
    buf_fit(&job->outcome.value);
    drop_content(job);
    job->parsed = text_bytes(event->id) + text_bytes(event->source) + text_bytes(event->type) +
                  text_bytes(event->mchid) + text_bytes(event->traceparent) +
                  text_bytes(event->tracestate);
}

struct job *job_free(struct job *job)
{
    if (job != NULL) {
        assert(job->in == NULL && job->key_entry.queue == NULL && !heap_holds(&job->due) &&
               !heap_holds(&job->age) && !heap_holds(&job->punctual));
        admission_deinit(&job->admission);
        answer_deinit(&job->answer);
        outcome_bytes_deinit(&job->outcome);
        free(job->log);
        free(job->bytes);
        free(job);
    }
    return NULL;
}

/* Allocated at the first failure: nearly all events succeed at once. */
void job_log_attempt(struct job *job)
{
    if (job->log == NULL) {
        job->log = mem_zalloc(OUTCOME_ATTEMPTS_MAX, sizeof *job->log);
    }
    struct job_attempt *attempt = &job->log[(job->attempts - 1) % OUTCOME_ATTEMPTS_MAX];
    *attempt = (struct job_attempt){
        .at_ms = job->began_wall_ms,
        .duration_ms = job->answer.duration_ms,
        .status = job->answer.status,
        .kind = job->answer.kind,
    };
    snprintf(attempt->host, sizeof attempt->host, "%.*s", (int)sizeof attempt->host - 1,
             job->answer.host);
    snprintf(attempt->code, sizeof attempt->code, "%s", job->answer.code);
}
