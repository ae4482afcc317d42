/* Publishes outcomes in transactions; the publisher has one batch at a time. Windows change only
 * after the commit. After any other end the outcomes are sent again, and no call is repeated.
 *
 * With delivery = at_least_once there is no transaction. After a batch that was not committed, some
 * of its outcomes may be visible. They are marked as delivered: later batches commit their
 * positions and do not produce them again.
 *
 * Outcomes that Kafka does not accept wait in JOB_REFUSED, each with the number of its case
 * (suspects.h). Their offsets stay unfinished and their memory stays charged, so that only their
 * own input partition is paused if there are too many.
 *
 * An outcome that is too large is handled in blame(): drop_original() makes a failure smaller. If
 * that does not suffice, it is parked and sent again after growing pauses. */
#include "flow/pipeline_parts.h"

#include <assert.h>
#include <stdlib.h>

/* Pauses after aborted transactions. */
#define ABORT_PAUSE_FIRST_MS 10
#define ABORT_PAUSE_MAX_MS   2000
/* Before deferred outcomes are tried again. */
#define DEFERRED_PAUSE_MS 100
/* After a transaction failed because of one topic, and the error did not say which. */
#define ONE_TOPIC_MS 60000

static struct suspect_record record_of(const struct job *job)
{
    return (struct suspect_record){
        .topic = job_topic(job),
        .partition = job->out_partition,
        .size = job_outcome_bytes(job),
        .keyless = job->record.key == NULL,
    };
}

/* --- refused outcomes: where each one waits --------------------------------------------------- */

static void refuse_into(struct pipeline *p, struct job *job, uint32_t suspect)
{
    job->suspect = suspect;
    job_state_move(p, job, JOB_REFUSED);
}

static size_t refused_of(const struct pipeline *p, uint32_t suspect)
{
    size_t count = 0;
    LIST_FOREACH (&p->jobs[JOB_REFUSED], link) {
        count += job_of(link)->suspect == suspect;
    }
    return count;
}

/* Moves the outcome into the parked case of this refusal, and reports it once. */
static void park(struct pipeline *p, struct job *job, enum refusal refusal, const char *last_error,
                 struct moment now)
{
    bool made;
    const struct suspect_record record = record_of(job);
    refuse_into(p, job, suspects_park(&p->suspects, &record, refusal, now.mono_ms, &made));
    job->refusal = refusal;
    if (refusal_row(refusal)->scope == REFUSAL_OF_RECORD && !job->reported) {
        job->reported = true;
        OBSERVE(p, outcome_rejected, job, last_error);
    } else if (made && refusal_row(refusal)->scope != REFUSAL_OF_RECORD) {
        OBSERVE(p, output_unavailable, record.topic, record.partition, refusal, last_error);
    }
}

/* Writes a failure again without its original. False if it cannot become smaller. */
static bool drop_original(struct pipeline *p, struct job *job, struct moment now)
{
    bool smaller = complete_drop_original(job, p->rules.identity, now.wall_ms);
    if (smaller) {
        buf_fit(&job->outcome.value);
        job_state_charge(p, job);
    }
    return smaller;
}

/* Parks the outcome without sending it, if others like it were refused. */
static bool known_refused(struct pipeline *p, struct job *job, struct moment now)
{
    struct suspect_record record = record_of(job);
    if (job->delivered) {
        return false;
    }
    uint32_t suspect = suspects_match(&p->suspects, &record);
    if (suspect != 0) {
        park(p, job, suspects_find(&p->suspects, suspect)->refusal, NULL, now);
        return true;
    }
    while (suspects_too_large(&p->suspects, &record, now.mono_ms)) {
        if (!drop_original(p, job, now)) {
            park(p, job, REFUSAL_SIZE, NULL, now);
            return true;
        }
        record = record_of(job);
    }
    return false;
}

void publish_take(struct pipeline *p, struct job *job, struct moment now)
{
    job->suspect = 0;
    job->rerouted = false;
    job->out_partition = p->ports.route == NULL
                             ? -1
                             : p->ports.route(p->ports.publisher, job_topic(job), job->record.key,
                                              job->record.key_len);
    if (!known_refused(p, job, now)) {
        job_state_move(p, job, JOB_COMPLETED);
    }
}

/* After a new case: applies it to outcomes that wait already. */
static void sweep(struct pipeline *p, struct moment now)
{
    LIST_FOREACH_SAFE (&p->jobs[JOB_COMPLETED], link) {
        (void)known_refused(p, job_of(link), now);
    }
    /* Parked outcomes move to the back of the same list: stop at its current end. */
    struct list_link *last =
        list_empty(&p->jobs[JOB_REFUSED]) ? NULL : p->jobs[JOB_REFUSED].head.prev;
    LIST_FOREACH_SAFE (&p->jobs[JOB_REFUSED], link) {
        const struct suspect_case *item = suspects_find(&p->suspects, job_of(link)->suspect);
        if (item != NULL && item->group) {
            (void)known_refused(p, job_of(link), now);
        }
        if (link == last) {
            break;
        }
    }
}

/* The only refused outcome of its transaction is at fault. One that is too large is made smaller.
 * If that is not possible, or after another refusal, it is parked until its topic is changed. */
static void blame(struct pipeline *p, struct job *job, const char *last_error, struct moment now)
{
    const struct suspect_record record = record_of(job);
    if (job->refusal != REFUSAL_SIZE) {
        park(p, job, job->refusal, last_error, now);
    } else {
        suspects_note_size(&p->suspects, &record, true, now.mono_ms);
        if (drop_original(p, job, now)) {
            publish_take(p, job, now);
        } else {
            park(p, job, REFUSAL_SIZE, last_error, now);
        }
    }
}

size_t publish_ready(const struct pipeline *p)
{
    return p->deferred < p->jobs[JOB_COMPLETED].count ? p->jobs[JOB_COMPLETED].count - p->deferred
                                                      : 0;
}

size_t publish_blocked_results(const struct pipeline *p)
{
    size_t count = 0;
    for (size_t i = 0; i < p->suspects.count; i++) {
        const struct suspect_case *item = &p->suspects.cases[i];
        bool stuck = item->topic == OUTPUT_RESULTS && !item->group &&
                     refusal_row(item->refusal)->scope == REFUSAL_OF_TOPIC;
        count += stuck ? refused_of(p, item->id) : 0;
    }
    return count;
}

/* --- a transaction begins -------------------------------------------------------------------- */

int64_t publish_due_ms(const struct pipeline *p)
{
    size_t waiting = p->jobs[JOB_COMPLETED].count;
    int64_t due_ms =
        commit_interval_next_ms(&p->commit_interval, waiting, p->jobs[JOB_CALLING].count);
    bool half_full = waiting >= p->rules.limits.in_flight; /* dispatch_backlog_full() at twice it */
    due_ms = due_ms < p->stable_ms ? p->stable_ms : due_ms;
    return half_full || due_ms < p->next_batch_ms ? p->next_batch_ms : due_ms;
}

static bool any_delivered(const struct pipeline *p)
{
    struct list_link *first = list_first(&p->jobs[JOB_COMPLETED]);
    return first != NULL && job_of(first)->delivered;
}

/* The positions of delivered outcomes come first: the last commit may have taken effect, and the
 * next one must not contain less. Outcomes whose set is too wide wait for the base offset, and the
 * outcome of that offset may be a suspect. */
static bool delivered_wait(const struct pipeline *p)
{
    return any_delivered(p) && p->deferred == 0;
}

bool publish_half_done(const struct pipeline *p)
{
    if (p->rules.delivery != DELIVERY_AT_LEAST_ONCE) {
        return false;
    }
    return p->publishing || any_delivered(p);
}

int64_t publish_next_ms(const struct pipeline *p)
{
    if (p->publishing || p->group_metadata == NULL) {
        return INT64_MAX;
    }
    if (delivered_wait(p)) {
        return publish_due_ms(p);
    }
    int64_t clean = list_empty(&p->jobs[JOB_COMPLETED]) ? INT64_MAX : publish_due_ms(p);
    int64_t suspects = suspects_next_ms(&p->suspects);
    suspects = suspects < p->stable_ms ? p->stable_ms : suspects;
    suspects = suspects < p->next_batch_ms ? p->next_batch_ms : suspects;
    return clean < suspects ? clean : suspects;
}

/* The smallest outcome of the case, which is accepted first after a limit was raised. */
static struct job *smallest_of(const struct pipeline *p, uint32_t suspect)
{
    struct job *smallest = NULL;
    LIST_FOREACH (&p->jobs[JOB_REFUSED], link) {
        struct job *job = job_of(link);
        bool smaller = job->suspect == suspect &&
                       (smallest == NULL || job_outcome_bytes(job) < job_outcome_bytes(smallest));
        smallest = smaller ? job : smallest;
    }
    return smallest;
}

/* False if all of them are deferred. */
static bool begin(struct pipeline *p, uint32_t suspect, size_t count, struct moment now)
{
    batch_fill(p, &(struct batch_selection){.suspect = suspect,
                                            .count = count,
                                            .one_topic = now.mono_ms < p->one_topic_until_ms});
    if (list_empty(&p->jobs[JOB_PUBLISHING])) {
        batch_end(&p->batch);
        p->next_batch_ms = now.mono_ms + DEFERRED_PAUSE_MS;
        return false;
    }
    p->batch_case = suspect;
    p->publishing = true;
    p->next_batch_ms = now.mono_ms + p->rules.limits.commit_interval_ms;
    p->ports.submit(p->ports.publisher, &p->batch.out);
    return true;
}

static void begin_suspects(struct pipeline *p, uint32_t suspect, struct moment now)
{
    const struct suspect_case *item = suspects_find(&p->suspects, suspect);
    size_t take = suspects_take(&p->suspects, suspect, refused_of(p, suspect));
    if (take == 0) {
        suspects_end(&p->suspects, suspect); /* its partitions were taken away */
        return;
    }
    if (!item->group && item->refusal == REFUSAL_SIZE) {
        job_state_move_front(p, smallest_of(p, suspect), JOB_REFUSED);
    }
    p->suspects.clean_next = true;
    if (!begin(p, suspect, take, now)) {
        suspects_put_off(&p->suspects, suspect, now.mono_ms);
    }
}

/* Without an assignment, no outcome waits. */
void publish_begin(struct pipeline *p, struct moment now)
{
    if (p->publishing || p->group_metadata == NULL || now.mono_ms < p->next_batch_ms) {
        return;
    }
    bool clean = !list_empty(&p->jobs[JOB_COMPLETED]) && now.mono_ms >= publish_due_ms(p);
    bool no_suspects = delivered_wait(p) || now.mono_ms < p->stable_ms;
    uint32_t suspect = no_suspects ? 0 : suspects_due(&p->suspects, clean, now.mono_ms);
    if (suspect != 0) {
        begin_suspects(p, suspect, now);
    } else if (clean) {
        p->suspects.clean_next = false;
        if (begin(p, 0, SIZE_MAX, now)) {
            commit_interval_begin(&p->commit_interval, p->jobs[JOB_PUBLISHING].count, now.mono_ms);
        }
        p->deferred = p->batch.deferred;
    }
}

/* --- a transaction ended: committed ---------------------------------------------------------- */

/* The partition or the topic accepts outcomes again: all outcomes of the case wait as any others.
 */
static void reopen(struct pipeline *p, uint32_t suspect, struct moment now)
{
    const struct suspect_case item = *suspects_find(&p->suspects, suspect);
    suspects_end(&p->suspects, suspect);
    OBSERVE(p, output_available, item.topic, item.partition, item.refusal);
    LIST_FOREACH_SAFE (&p->jobs[JOB_REFUSED], link) {
        if (job_of(link)->suspect == suspect) {
            publish_take(p, job_of(link), now);
        }
    }
}

static void suspects_committed(struct pipeline *p, struct moment now)
{
    const struct suspect_case *item = suspects_find(&p->suspects, p->batch_case);
    if (item == NULL) {
        return;
    }
    enum refusal_scope scope = refusal_row(item->refusal)->scope;
    if (scope == REFUSAL_OF_RECORD) {
        suspects_taken(&p->suspects, p->batch_case, refused_of(p, p->batch_case));
    } else {
        reopen(p, p->batch_case, now);
    }
}

/* Orphans are published, too: the broker accepted the commit before their partition was taken away.
 */
static void committed(struct pipeline *p, struct moment now)
{
    batch_commit(p);
    p->commits++;
    p->abort_pause_ms = 0;
    struct list_link *link;
    while ((link = list_first(&p->jobs[JOB_PUBLISHING])) != NULL) {
        struct job *job = job_of(link);
        const struct suspect_record record = record_of(job);
        suspects_note_size(&p->suspects, &record, false, now.mono_ms);
        age_visible(p, job, now);
        OBSERVE(p, published, job);
        job_state_discard(p, job, now);
    }
    suspects_committed(p, now);
}

/* --- a transaction ended: Kafka did not accept some outcomes ---------------------------------- */

/* Copies what the publisher says about each outcome, before any of them leaves the batch. */
static void refusals_read(struct pipeline *p, const struct transaction_end *end)
{
    size_t index = 0;
    LIST_FOREACH (&p->jobs[JOB_PUBLISHING], link) {
        struct job *job = job_of(link);
        job->refusal = REFUSAL_NONE;
        job->delivered = p->batch.delivered[index];
        if (end->verdict == TRANSACTION_RECORDS_REFUSED && !job->delivered) {
            job->refusal = p->batch.out.refusals[index];
        }
        /* An outcome without a key may go to another partition. */
        if (job->refusal != REFUSAL_NONE && job->record.key != NULL) {
            job->out_partition = p->batch.out.record_metadata[index].partition;
        }
        index++;
    }
}

/* Moves delivered outcomes to the front of JOB_COMPLETED. They wait for their positions only,
 * whatever happens to the others of their batch or case. */
static void delivered_first(struct pipeline *p, enum job_state from)
{
    struct list_link *link = p->jobs[from].head.prev;
    bool none = p->rules.delivery == DELIVERY_EXACTLY_ONCE;
    for (size_t left = none ? 0 : p->jobs[from].count; left > 0; left--) {
        struct job *job = job_of(link);
        link = link->prev;
        if (job->delivered) {
            job->suspect = 0;
            job_state_move_front(p, job, JOB_COMPLETED);
        }
    }
}

/* Their partition was taken away: the next owner reads the events again. */
static void discard_orphans(struct pipeline *p, struct moment now)
{
    LIST_FOREACH_SAFE (&p->jobs[JOB_PUBLISHING], link) {
        struct job *job = job_of(link);
        if (job->partition == NULL) {
            job_state_discard(p, job, now);
        }
    }
}

/* An outcome without a key is tried in one other partition. If that one does not accept it either,
 * it is parked, so that it does not abort further transactions. */
static bool try_reroute(struct job *job)
{
    bool tried = job->rerouted;
    job->rerouted =
        job->record.key == NULL && refusal_row(job->refusal)->scope == REFUSAL_OF_PARTITION;
    return job->rerouted && !tried;
}

/* Parks the outcomes whose partition or topic accepts nothing. */
static void park_unavailable(struct pipeline *p, const char *last_error, struct moment now)
{
    LIST_FOREACH_SAFE (&p->jobs[JOB_PUBLISHING], link) {
        struct job *job = job_of(link);
        enum refusal_scope scope = refusal_row(job->refusal)->scope;
        bool rerouted = try_reroute(job);
        if ((scope == REFUSAL_OF_PARTITION || scope == REFUSAL_OF_TOPIC) && !rerouted) {
            park(p, job, job->refusal, last_error, now);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    size_t x = job_outcome_bytes(*(struct job *const *)a),
           y = job_outcome_bytes(*(struct job *const *)b);
    return (x > y) - (x < y);
}

/* Collects the outcomes of the batch with that refusal, the smallest first. Returns how many. */
static size_t refused_for(const struct pipeline *p, enum output_topic topic, enum refusal refusal,
                          struct job **jobs)
{
    size_t count = 0;
    LIST_FOREACH (&p->jobs[JOB_PUBLISHING], link) {
        struct job *job = job_of(link);
        if (job_topic(job) == topic && job->refusal == refusal) {
            jobs[count++] = job;
        }
    }
    if (count > 1) {
        qsort(jobs, count, sizeof(struct job *), by_size);
    }
    return count;
}

/* Outcomes of one topic with one refusal. A single one is at fault; several become a group. */
static void suspect(struct pipeline *p, struct job **jobs, size_t count,
                    const struct transaction_end *end, struct moment now)
{
    if (end->refused == 1) {
        blame(p, jobs[0], end->last_error, now);
        return;
    }
    uint32_t group = suspects_group(&p->suspects, job_topic(jobs[0]), jobs[0]->refusal, count);
    for (size_t i = 0; i < count; i++) {
        refuse_into(p, jobs[i], group);
    }
}

static void suspect_all(struct pipeline *p, const struct transaction_end *end, struct moment now)
{
    AUTO_FREE struct job **jobs =
        mem_zalloc(p->jobs[JOB_PUBLISHING].count + 1, sizeof(struct job *));
    for (enum output_topic topic = 0; topic < OUTPUT_TOPIC_COUNT; topic++) {
        for (enum refusal refusal = REFUSAL_NONE + 1; refusal < REFUSAL_COUNT; refusal++) {
            if (refusal_row(refusal)->scope != REFUSAL_OF_RECORD) {
                continue;
            }
            size_t count = refused_for(p, topic, refusal, jobs);
            if (count > 0) {
                suspect(p, jobs, count, end, now);
            }
        }
    }
}

/* Moves the outcomes of the batch back to their case in their order, the refused ones first.
 * Returns how many those are. */
static size_t case_back(struct pipeline *p)
{
    size_t refused = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct list_link *link = p->jobs[JOB_PUBLISHING].head.prev;
        while (link != &p->jobs[JOB_PUBLISHING].head) {
            struct job *job = job_of(link);
            link = link->prev;
            if ((job->refusal != REFUSAL_NONE) == (pass == 1)) {
                refused += (size_t)pass;
                job_state_move_front(p, job, JOB_REFUSED);
            }
        }
    }
    return refused;
}

/* Outcomes of a group that were refused again stay in it, unless one was refused alone. An outcome
 * of a parked case goes to its end, so that another one is sent the next time. */
static void refused_again(struct pipeline *p, const struct transaction_end *end, struct moment now)
{
    const struct suspect_case *item = suspects_find(&p->suspects, p->batch_case);
    struct job *last = NULL;
    LIST_FOREACH (&p->jobs[JOB_PUBLISHING], link) {
        last = job_of(link)->refusal != REFUSAL_NONE ? job_of(link) : last;
    }
    /* A parked case sends one outcome at a time. */
    if (last != NULL && (end->refused == 1 || (item != NULL && !item->group))) {
        blame(p, last, end->last_error, now);
    }
    size_t refused = case_back(p);
    suspects_refused(&p->suspects, p->batch_case, refused, refused_of(p, p->batch_case),
                     now.mono_ms);
}

static void refused(struct pipeline *p, const struct transaction_end *end, struct moment now)
{
    park_unavailable(p, end->last_error, now);
    if (p->batch_case == 0) {
        suspect_all(p, end, now);
    } else {
        refused_again(p, end, now);
    }
}

/* --- a transaction ended: not committed ------------------------------------------------------ */

/* The pause doubles with each abort in a row, to spare a broker that has a problem. */
static void pause_after_abort(struct pipeline *p, const struct transaction_end *end,
                              struct moment now)
{
    int64_t pause = p->abort_pause_ms * 2;
    p->abort_pause_ms = pause < ABORT_PAUSE_FIRST_MS ? ABORT_PAUSE_FIRST_MS
                        : pause > ABORT_PAUSE_MAX_MS ? ABORT_PAUSE_MAX_MS
                                                     : pause;
    p->next_batch_ms = now.mono_ms + p->abort_pause_ms;
    if (end->topic_unknown) {
        p->one_topic_until_ms = now.mono_ms + ONE_TOPIC_MS;
    }
}

/* Refused outcomes leave the batch, and the others are sent again without a pause. */
static void not_committed(struct pipeline *p, const struct transaction_end *end, struct moment now)
{
    size_t before = p->suspects.last_id, count = p->jobs[JOB_REFUSED].count;
    refusals_read(p, end);
    discard_orphans(p, now);
    delivered_first(p, JOB_PUBLISHING);
    if (end->verdict == TRANSACTION_RECORDS_REFUSED) {
        refused(p, end, now);
    }
    bool separated =
        p->batch_case != 0 || p->jobs[JOB_REFUSED].count > count || p->suspects.last_id != before;
    if (end->verdict != TRANSACTION_RECORDS_REFUSED || !separated) {
        pause_after_abort(p, end, now);
        suspects_put_off(&p->suspects, p->batch_case, now.mono_ms);
    }
    batch_undo(p);
    delivered_first(p, JOB_COMPLETED);
    if (end->verdict == TRANSACTION_RECORDS_REFUSED) {
        sweep(p, now);
    }
}

static void tell_transaction(struct pipeline *p, const struct transaction_end *end)
{
    size_t outcomes[OUTPUT_TOPIC_COUNT] = {0};
    LIST_FOREACH (&p->jobs[JOB_PUBLISHING], link) {
        outcomes[job_topic(job_of(link))]++;
    }
    OBSERVE(p, transaction, end, outcomes);
}

/* A batch that is submitted earlier waits in the publisher: it would miss what completes meanwhile,
 * and that would wait for another transaction. */
static void set_stable_ms(struct pipeline *p, struct moment now)
{
    if (p->rules.delivery == DELIVERY_EXACTLY_ONCE) {
        p->stable_ms = now.mono_ms + TRANSACTION_STABLE_MS;
    }
}

void publish_ended(struct pipeline *p, const struct transaction_end *end)
{
    assert(p->publishing);
    struct moment now = now_of(p);
    p->publishing = false;
    tell_transaction(p, end);
    if (end->verdict == TRANSACTION_COMMITTED) {
        commit_interval_end(&p->commit_interval, end->duration_ms);
        set_stable_ms(p, now);
        committed(p, now);
    } else {
        not_committed(p, end, now);
    }
    p->batch_case = 0;
    batch_end(&p->batch);
}
