/* Pauses by which an operator stops calls: of everything, of a merchant, of an endpoint. Pure.
 *
 * A paused event is held: it is not called, no attempt is used up, and its retry time stands still.
 * `expirytime` and max_event_age_ms go on. Calls in flight end. While everything is paused, of
 * each partition only the first record is read, for its age, and relief (flow/relief.h) ends none
 * of these events. A pause is of this process alone.
 */
#ifndef PRESIGND_FLOW_PAUSE_H
#define PRESIGND_FLOW_PAUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes, without the terminator. */
#define PAUSE_NAME_MAX 32
#define PAUSE_BY_MAX   64
#define PAUSE_NOTE_MAX 512

#define PAUSE_SCOPES(ROW)     \
    ROW(ALL, "all")           \
    ROW(MERCHANT, "merchant") \
    ROW(ENDPOINT, "endpoint")

#define PAUSE_SCOPE(scope, name) PAUSE_##scope,
enum pause_scope { PAUSE_SCOPES(PAUSE_SCOPE) PAUSE_SCOPE_COUNT };
#undef PAUSE_SCOPE
const char *pause_scope_name(enum pause_scope scope);
/* False if no scope has that name. */
bool pause_scope_find(const char *name, enum pause_scope *scope)
    __attribute__((warn_unused_result));

struct pause {
    enum pause_scope scope;
    char name[PAUSE_NAME_MAX + 1]; /* the merchant's number or the endpoint's name; "" for all */
    int64_t since_ms;              /* wall clock */
    int64_t until_ms;              /* wall clock: it ends by itself then; 0: only by a resume */
    bool persist;                  /* a restart keeps it, see daemon/pauses.h */
    char by[PAUSE_BY_MAX + 1];     /* who asked for it */
    char note[PAUSE_NOTE_MAX + 1]; /* why */
    int64_t began_ms;              /* monotonic clock; the pipeline sets it */
};

/* All pauses of a pipeline, one at most for each scope and name; all zero: none. The caller bounds
 * the names. */
struct pauses {
    struct pause *items;
    size_t count;
};

void pauses_deinit(struct pauses *pauses);
/* NULL: there is no such pause. `name` is "" for PAUSE_ALL. Borrowed until the next change. */
struct pause *pauses_find(const struct pauses *pauses, enum pause_scope scope, const char *name);
/* Adds the pause, or replaces the one of the same scope and name, which keeps its begin. */
void pauses_set(struct pauses *pauses, const struct pause *pause);
/* Removes an item of the list. */
void pauses_remove(struct pauses *pauses, struct pause *pause);
/* The end of the first pause that ends by itself, on the wall clock; INT64_MAX: none does. */
int64_t pauses_next_end_ms(const struct pauses *pauses);

#endif
