/* Pauses of the running pipeline: which begin and end. */
#include "presignd/flow/pipeline.h"

#include "flow/pipeline_parts.h"

#include <string.h>

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
    struct pause begun = *pause;
    begun.began_ms = now_of(p).mono_ms;
    pauses_set(&p->pauses, &begun);
    return true;
}

size_t pipeline_resume(struct pipeline *p, enum pause_scope scope, const char *name)
{
    size_t ended = 0;
    struct pause *pause;
    while (p->pauses.count > 0 &&
           (pause = scope == PAUSE_ALL ? p->pauses.items : pauses_find(&p->pauses, scope, name)) !=
               NULL) {
        pauses_remove(&p->pauses, pause);
        ended++;
    }
    return ended;
}

const struct pauses *pipeline_pauses(const struct pipeline *p)
{
    return &p->pauses;
}

size_t pipeline_pause_events(const struct pipeline *p, const struct pause *pause)
{
    (void)p;
    (void)pause;
    return 0;
}

size_t pipeline_find(const struct pipeline *p, const char *out_contract_code,
                     void (*visit)(void *context, const struct pipeline_found *found),
                     void *context)
{
    (void)p;
    (void)out_contract_code;
    (void)visit;
    (void)context;
    return 0;
}
