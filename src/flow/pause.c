#include "presignd/flow/pause.h"

#include "presignd/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const scope_names[] = {
#define NAME(scope, name) name,
    PAUSE_SCOPES(NAME)
#undef NAME
};

const char *pause_scope_name(enum pause_scope scope)
{
    return scope_names[scope];
}

bool pause_scope_find(const char *name, enum pause_scope *scope)
{
    for (size_t i = 0; i < PAUSE_SCOPE_COUNT; i++) {
        if (strcmp(name, scope_names[i]) == 0) {
            *scope = (enum pause_scope)i;
            return true;
        }
    }
    return false;
}

void pauses_deinit(struct pauses *pauses)
{
    free(pauses->items);
    *pauses = (struct pauses){0};
}

struct pause *pauses_find(const struct pauses *pauses, enum pause_scope scope, const char *name)
{
    for (size_t i = 0; i < pauses->count; i++) {
        struct pause *pause = &pauses->items[i];
        if (pause->scope == scope && strcmp(pause->name, name) == 0) {
            return pause;
        }
    }
    return NULL;
}

void pauses_set(struct pauses *pauses, const struct pause *pause)
{
    struct pause *old = pauses_find(pauses, pause->scope, pause->name);
    if (old != NULL) {
        int64_t since_ms = old->since_ms, began_ms = old->began_ms;
        *old = *pause;
        old->since_ms = since_ms;
        old->began_ms = began_ms;
        return;
    }
    pauses->items = mem_realloc(pauses->items, (pauses->count + 1) * sizeof *pauses->items);
    pauses->items[pauses->count++] = *pause;
}

void pauses_remove(struct pauses *pauses, struct pause *pause)
{
    size_t index = (size_t)(pause - pauses->items);
    assert(index < pauses->count);
    pauses->count--;
    memmove(pause, pause + 1, (pauses->count - index) * sizeof *pause);
}

int64_t pauses_next_end_ms(const struct pauses *pauses)
{
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < pauses->count; i++) {
        int64_t until_ms = pauses->items[i].until_ms;
        next_ms = until_ms != 0 && until_ms < next_ms ? until_ms : next_ms;
    }
    return next_ms;
}
