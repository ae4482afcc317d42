/* Pauses of the running pipeline: which begin and end, and which events they hold. A held event is
 * in JOB_PAUSED, not in its merchant's queue, so that no other part has to ask for pauses before a
 * call, a probe or a failure. Only job_state_enqueue() and retry_at() ask, and relief. */
#include "presignd/flow/pipeline.h"

#include "flow/pipeline_parts.h"

#include <string.h>

/* The end of a pause is of the wall clock, which may jump; it is checked at least this often. */
#define WALL_RECHECK_MS 60000

void pausing_init(struct pipeline *p)
{
    p->all_paused_ms = -1;
    p->pause_end_ms = INT64_MAX;
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        p->endpoint_paused_ms[i] = -1;
    }
}

/* --- which events are held ---------------------------------------------------------------- */

static int64_t begin_ms(const struct pipeline *p, enum pause_scope scope, const char *name)
{
    const struct pause *pause = pauses_find(&p->pauses, scope, name);
    return pause == NULL ? -1 : pause->began_ms;
}

int64_t pausing_merchant_ms(const struct pipeline *p, const char *mchid)
{
    return begin_ms(p, PAUSE_MERCHANT, mchid);
}

/* Moments below 0: none. */
static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

int64_t pausing_since_ms(const struct pipeline *p, const struct merchant_queue *queue,
                         size_t endpoint)
{
    return earlier(p->all_paused_ms, earlier(queue->paused_ms, p->endpoint_paused_ms[endpoint]));
}

bool pausing_holds(const struct pipeline *p, const struct job *job)
{
    return pausing_since_ms(p, job->queue, endpoint_index(job->admission.endpoint)) >= 0;
}

/* --- changes ------------------------------------------------------------------------------ */

static void hold_from(struct pipeline *p, struct list *list, struct moment now)
{
    LIST_FOREACH_SAFE (list, link) {
        if (pausing_holds(p, job_of(link))) {
            job_state_pause(p, job_of(link), false, now);
        }
    }
}

/* From the last one on, since each goes before the others. */
static void release(struct pipeline *p, struct moment now)
{
    struct list *list = &p->jobs[JOB_PAUSED];
    for (struct list_link *link = list->head.prev, *before; link != &list->head; link = before) {
        before = link->prev;
        if (!pausing_holds(p, job_of(link))) {
            job_state_unpause(p, job_of(link), now);
        }
    }
}

static int64_t end_check_ms(const struct pipeline *p, struct moment now)
{
    int64_t until_ms = pauses_next_end_ms(&p->pauses), left_ms = until_ms - now.wall_ms;
    left_ms = left_ms < 0 ? 0 : left_ms > WALL_RECHECK_MS ? WALL_RECHECK_MS : left_ms;
    return until_ms == INT64_MAX ? INT64_MAX : now.mono_ms + left_ms;
}

/* Pauses began or ended. Without a time budget: PIPELINE_BYTES_MAX bounds the lists to about 16,000
 * jobs. */
static void apply(struct pipeline *p, struct moment now)
{
    bool all_was = p->all_paused_ms >= 0;
    p->all_paused_ms = begin_ms(p, PAUSE_ALL, "");
    p->pause_end_ms = end_check_ms(p, now);
    const struct endpoint *endpoints = endpoint_table(&(size_t){0});
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        p->endpoint_paused_ms[i] = begin_ms(p, PAUSE_ENDPOINT, endpoints[i].name);
    }
    for (size_t i = 0; i < p->queue_count; i++) {
        struct merchant_queue *queue = p->queue_table[i];
        bool was = all_was || queue->paused_ms >= 0;
        queue->paused_ms = pausing_merchant_ms(p, queue->merchant->mchid);
        if (was && p->all_paused_ms < 0 && queue->paused_ms < 0) {
            hold_merchant_resumed(&queue->hold, now.mono_ms);
        }
    }
    for (size_t i = 0; i < p->queue_count; i++) {
        hold_from(p, &p->queue_table[i]->probed, now);
        hold_from(p, &p->queue_table[i]->waiting, now);
    }
    hold_from(p, &p->jobs[JOB_RETRY], now);
    release(p, now);
}

bool pipeline_may_pause(const struct pipeline *p, enum pause_scope scope, const char *name)
{
    switch (scope) {
    case PAUSE_ALL:
        return name[0] == '\0';
    case PAUSE_MERCHANT:
        return merchants_find(p->rules.admit->merchants, name) != NULL;
    case PAUSE_ENDPOINT:
        return endpoint_find(name, strlen(name)) != NULL;
    case PAUSE_SCOPE_COUNT:
        break;
    }
    return false;
}

bool pipeline_pause(struct pipeline *p, const struct pause *pause)
{
    if (!pipeline_may_pause(p, pause->scope, pause->name)) {
        return false;
    }
    struct moment now = now_of(p);
    struct pause begun = *pause;
    begun.began_ms = now.mono_ms;
    pauses_set(&p->pauses, &begun);
    apply(p, now);
    return true;
}

size_t pipeline_resume(struct pipeline *p, enum pause_scope scope, const char *name)
{
    size_t before = p->pauses.count;
    struct pause *pause = pauses_find(&p->pauses, scope, name);
    if (scope == PAUSE_ALL) {
        pauses_deinit(&p->pauses);
    } else if (pause != NULL) {
        pauses_remove(&p->pauses, pause);
    }
    apply(p, now_of(p));
    return before - p->pauses.count;
}

static bool is_due(const struct pause *pause, struct moment now)
{
    return pause->until_ms != 0 && pause->until_ms <= now.wall_ms;
}

void pausing_end_due(struct pipeline *p, struct moment now)
{
    if (now.mono_ms < p->pause_end_ms) {
        return;
    }
    for (size_t i = p->pauses.count; i-- > 0;) {
        struct pause ended = p->pauses.items[i];
        if (is_due(&ended, now)) {
            pauses_remove(&p->pauses, &p->pauses.items[i]);
            OBSERVE(p, pause_ended, &ended, false);
        }
    }
    apply(p, now);
}

void pausing_configure(struct pipeline *p, struct moment now)
{
    for (size_t i = p->pauses.count; i-- > 0;) {
        struct pause ended = p->pauses.items[i];
        if (!pipeline_may_pause(p, ended.scope, ended.name)) {
            pauses_remove(&p->pauses, &p->pauses.items[i]);
            OBSERVE(p, pause_ended, &ended, true);
        }
    }
    apply(p, now);
}

/* --- what others ask ---------------------------------------------------------------------- */

const struct pauses *pipeline_pauses(const struct pipeline *p)
{
    return &p->pauses;
}

size_t pipeline_pause_events(const struct pipeline *p, const struct pause *pause)
{
    const struct merchant_queue *queue;
    switch (pause->scope) {
    case PAUSE_MERCHANT:
        queue = pipeline_queue(p, pause->name);
        return queue == NULL ? 0 : queue->paused;
    case PAUSE_ENDPOINT:
        return p->paused_jobs[endpoint_index(endpoint_find(pause->name, strlen(pause->name)))];
    default:
        return p->jobs[JOB_PAUSED].count;
    }
}

bool pipeline_is_paused(const struct pipeline *p, const char *mchid)
{
    return p->all_paused_ms >= 0 || pausing_merchant_ms(p, mchid) >= 0;
}
