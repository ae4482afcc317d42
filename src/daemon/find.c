/* GET /v1/find: where the events of one contract code are now. */
#include "daemon/parts.h"
#include "presignd/base/text.h"
#include "presignd/ops/control.h"

#include <inttypes.h>
#include <string.h>

struct finding {
    const struct daemon *daemon;
    struct buf *out;
};

static void member_time(struct buf *out, const char *name, int64_t wall_ms)
{
    char time[TEXT_TIME_SIZE];
    if (wall_ms != PIPELINE_FOUND_NONE) {
        text_time(time, wall_ms, true);
        buf_json_member(out, name, time);
    }
}

/* A text that may be empty, which means unknown. */
static void member_text(struct buf *out, const char *name, const char *text)
{
    buf_json_member(out, name, text_is_given(text) ? text : NULL);
}

static void write_event(struct buf *out, const struct pipeline_found *found)
{
    const struct admission *admission = found->admission;
    const struct record *record = found->record;
    buf_json_name(out, "event");
    buf_printf(out, "\"%s/%" PRId32 "/%" PRId64 "\"", record->topic, record->partition,
               record->offset);
    member_time(out, "timestamp",
                record->timestamp_ms < 0 ? PIPELINE_FOUND_NONE : record->timestamp_ms);
    member_text(out, "id", admission->event.id);
    member_text(out, "source", admission->event.source);
    buf_json_member(out, "endpoint",
                    admission->endpoint == NULL ? NULL : admission->endpoint->name);
    member_text(out, "mchid", admission->mchid);
    member_text(out, "out_contract_code", admission->out_contract_code);
}

static void write_last(struct buf *out, const struct pipeline_found *found)
{
    if (found->status != 0) {
        buf_json_name(out, "last");
        buf_putc(out, '{');
        buf_json_member_int(out, "status", found->status);
        member_text(out, "code", found->code);
        buf_putc(out, '}');
    }
}

static void visit(void *context, const struct pipeline_found *found)
{
    const struct finding *finding = context;
    struct buf *out = finding->out;
    buf_puts(out, out->data[out->len - 1] == '[' ? "{" : ",{");
    write_event(out, found);
    buf_json_member(out, "state", found->state);
    buf_json_member(out, "instance", finding->daemon->setup->config->daemon.instance);
    buf_json_member(out, "held_by", found->held_by);
    member_time(out, "until", found->until_ms);
    buf_json_member_int(out, "attempts", (int64_t)found->attempts);
    member_time(out, "next_attempt_at", found->next_attempt_at_ms);
    write_last(out, found);
    buf_putc(out, '}');
}

int find_answer(void *context, const struct http_request *request, struct buf *answer)
{
    struct finding finding = {.daemon = context, .out = answer};
    const char *code = http_argument(request, "code");
    if (!text_is_given(code) || strlen(code) > ADMIT_CODE_MAX) {
        return control_error(answer, 400, "the query needs code=CODE, an out_contract_code");
    }
    buf_puts(answer, "{\"events\":[");
    (void)pipeline_find(finding.daemon->pipeline, code, visit, &finding);
    buf_puts(answer, "]}\n");
    return 200;
}
