#include "ctl/redrive/redrive.h"

#include "ctl/kit/terminal.h"
#include "presignd/base/text.h"

#include <stdio.h>
#include <string.h>

enum { ID_WIDTH = 26, REASON_WIDTH = 21, MCHID_WIDTH = 10, CODE_WIDTH = 32, DETAIL_WIDTH = 200 };

static const struct {
    const char *name; /* in JSON */
    const char *text;
    enum terminal_colour colour;
    const char *sum; /* follows their number in the summary */
} states[REDRIVE_STATES] = {
    [REDRIVE_WOULD_SEND] = {"would_send", "would be sent", GREEN, "would be sent"},
    [REDRIVE_SENT] = {"sent", "sent", GREEN, "sent"},
    [REDRIVE_WOULD_DISCARD] = {"would_discard", "would be discarded", GREEN, "would be discarded"},
    [REDRIVE_DISCARDED] = {"discarded", "discarded", GREEN, "discarded"},
    [REDRIVE_WAS_SENT] = {"was_sent", "was sent or discarded", DIM,
                          "sent or discarded by earlier runs"},
    [REDRIVE_WOULD_FAIL] = {"would_fail", "would fail again", YELLOW,
                            "would fail again (--force sends them)"},
    [REDRIVE_GONE] = {"gone", "its event is gone", RED, "whose event is gone"},
    [REDRIVE_MAYBE_SENT] = {"forgotten", "may have been sent", YELLOW,
                            "whose redrive position may have expired in Kafka (--forgotten)"},
    [REDRIVE_TOO_LARGE] = {"too_large", "is too large", RED, "too large for the requests topic"},
    [REDRIVE_FOREIGN] = {"foreign", "is not a failure of presignd", RED,
                         "that are not failures of presignd"},
};

static void print_json(const struct failure *failure, enum redrive_state state, int64_t count,
                       const char *detail, struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    text_time(time, failure->time_ms, true);
    buf_putc(out, '{');
    buf_json_member(out, "state", states[state].name);
    buf_json_member(out, "failure", failure->id);
    if (state != REDRIVE_FOREIGN) {
        buf_json_member(out, "event", text_or_null(failure->event_id));
        buf_json_member(out, "time", time);
        buf_json_member(out, "reason", text_or_null(failure->reason));
        buf_json_member_bool(out, "retryable", failure->retryable);
        buf_json_member(out, "mchid", text_or_null(failure->mchid));
        buf_json_member(out, "out_contract_code", text_or_null(failure->code));
    }
    if (count > 0) {
        buf_json_member_int(out, "count", count);
    }
    buf_json_member(out, state == REDRIVE_SENT ? "request" : "message", detail);
    buf_putc(out, '}');
}

static void print_text(const struct failure *failure, enum redrive_state state, const char *detail,
                       struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    text_time(time, failure->time_ms, false);
    terminal_put(out, failure->id, ID_WIDTH, true);
    buf_putc(out, ' ');
    terminal_paint(out, DIM, time, sizeof time, false);
    buf_putc(out, ' ');
    terminal_put(out, failure->reason, REASON_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, failure->mchid, MCHID_WIDTH, true);
    buf_putc(out, ' ');
    terminal_put(out, failure->code, CODE_WIDTH, true);
    buf_putc(out, ' ');
    terminal_paint(out, states[state].colour, states[state].text, DETAIL_WIDTH, false);
    if (detail != NULL) {
        buf_puts(out, state == REDRIVE_SENT ? " as " : ": ");
        terminal_put(out, detail, DETAIL_WIDTH, false);
    }
}

void redrive_print(struct redrive_show *show, const struct failure *failure,
                   enum redrive_state state, int64_t count, const char *detail)
{
    AUTO_BUF struct buf line = {0};
    show->counts[state]++;
    if (show->json) {
        print_json(failure, state, count, detail, &line);
    } else {
        print_text(failure, state, detail, &line);
    }
    (void)puts(line.data);
}

void redrive_print_summary(const struct redrive_show *show, enum redrive_state state)
{
    for (enum redrive_state i = 0; i < REDRIVE_STATES; i++) {
        if (show->counts[i] > 0 || i == state) {
            (void)fprintf(stderr, "%zu %s\n", show->counts[i], states[i].sum);
        }
    }
    if (state != REDRIVE_WAS_SENT) {
        (void)fprintf(stderr, "%zu not chosen\n", show->skipped);
    }
    if (show->counts[REDRIVE_WOULD_SEND] > 0) {
        (void)fputs("nothing was sent; add --send to send\n", stderr);
    }
}
