#include "presignd/wechatpay/probe.h"

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/loop.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct probe {
    struct loop *loop;
    struct caller *caller;
    const struct merchant *merchant;
    struct probe_answer *answer;
};

static void take_text(const char *text, size_t max, char *out, size_t size)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), max);
    (void)snprintf(out, size, "%s", clean.data == NULL ? "" : clean.data);
}

static void take_signature(const struct verify_input *input, const struct merchant *merchant,
                           struct probe_answer *answer)
{
    struct verify_key room[MERCHANT_KEYS_MAX];
    size_t count;
    const struct verify_key *keys = merchant_keys(merchant, room, &count);
    answer->verify = verify_answer(keys, count, input, clock_wall_ms() / 1000);
    answer->is_signed = answer->verify != VERIFY_UNSIGNED;
    take_text(input->serial == NULL ? "" : input->serial, ANSWER_ID_MAX, answer->serial,
              sizeof answer->serial);
}

static void take_list(struct probe_answer *answer, struct platform_keys *keys,
                      struct certificate_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct probe_certificate *to = &answer->certificates[answer->certificate_count++];
        take_text(list->items[i].serial, sizeof to->serial - 1, to->serial, sizeof to->serial);
        to->not_before_ms = list->items[i].not_before_ms;
        to->not_after_ms = list->items[i].not_after_ms;
    }
    if (keys != NULL && list->count > 0) {
        (void)platform_keys_set(keys, list->items, list->count, list->signed_s);
        list->count = 0;
    }
}

static void judge(const struct caller_got *got, const struct merchant *merchant,
                  struct probe_answer *answer)
{
    struct certificate_list list = {0};
    answer->is_judged = true;
    answer->verdict = refresh_judge(merchant, got, clock_wall_ms() / 1000, &list);
    take_list(answer, merchant->platform_keys, &list);
    certificate_list_deinit(&list);
}

static void on_got(void *cookie, const struct caller_got *got)
{
    struct probe *probe = cookie;
    struct probe_answer *answer = probe->answer;
    const struct verify_input *input = &got->input.verify;
    loop_stop(probe->loop, 0);
    answer->status = got->status;
    answer->reason = got->reason;
    answer->has_date = got->has_date;
    answer->offset_s = got->clock_offset_ms / 1000;
    if (got->status != 0 && probe->merchant != NULL) {
        AUTO_JSON json_t *body =
            json_read(input->body, input->body_len, ANSWER_NESTING_MAX, 0, NULL);
        take_text(json_text(body, "code"), ANSWER_CODE_MAX, answer->code, sizeof answer->code);
        if (probe->merchant->apiv3_key != NULL) {
            judge(got, probe->merchant, answer);
        }
        take_signature(input, probe->merchant, answer);
    }
}

/* A probe starts no attempt. */
static void on_answered(void *, void *, struct answer *)
{
}

static bool open_caller(struct probe *probe, const struct caller_config *config, char **error)
{
    probe->loop = loop_new();
    if (probe->loop == NULL) {
        *error = mem_strdup("the system gives no event loop");
        return false;
    }
    struct caller_config one = *config;
    one.max_connections = 1;
    probe->caller = caller_new(probe->loop, &clock_system, NULL, &one, on_answered, probe, error);
    return probe->caller != NULL;
}

bool probe_run(const struct caller_config *config, unsigned host, struct merchant *merchant,
               int64_t timeout_ms, struct probe_answer *answer, char **error)
{
    const struct caller_get get = {.merchant = merchant,
                                   .path = merchant == NULL ? "/" : CERTIFICATES_PATH,
                                   .host = host,
                                   .timeout_ms = timeout_ms,
                                   .got = on_got};
    struct probe probe = {.merchant = merchant, .answer = answer};
    *answer = (struct probe_answer){.verify = VERIFY_UNSIGNED};
    bool ok = open_caller(&probe, config, error);
    if (ok) {
        caller_get(probe.caller, &get, &probe);
        (void)loop_run(probe.loop);
    }
    caller_free(probe.caller);
    loop_free(probe.loop);
    return ok;
}
