/* The functions of base that any thread may call: loop_wake() and the log. A plain program, so that
 * it runs under ThreadSanitizer. */
#include "presignd/base/log.h"
#include "presignd/base/loop.h"

#include <pthread.h>
#include <stdio.h>

enum { THREADS = 4, NOTES = 500 };

/* As a library's callback does: write under a lock, then wake the loop. */
struct inbox {
    pthread_mutex_t lock;
    int notes;
    int seen;
    struct loop *loop;
};

static void *put_notes(void *context)
{
    struct inbox *inbox = context;
    for (int i = 0; i < NOTES; i++) {
        pthread_mutex_lock(&inbox->lock);
        inbox->notes++;
        pthread_mutex_unlock(&inbox->lock);
        loop_wake(inbox->loop);
        log_debug("note %d", i);
    }
    return NULL;
}

/* There is no timer: a lost wake-up hangs the test. */
static void take_notes(void *context)
{
    struct inbox *inbox = context;
    pthread_mutex_lock(&inbox->lock);
    inbox->seen += inbox->notes;
    inbox->notes = 0;
    pthread_mutex_unlock(&inbox->lock);
    log_level_set(inbox->seen % 2 == 0 ? LOG_INFO : LOG_NOTICE);
    if (inbox->seen == THREADS * NOTES) {
        loop_stop(inbox->loop, inbox->seen);
    }
}

int main(void)
{
    struct inbox inbox = {.lock = PTHREAD_MUTEX_INITIALIZER, .loop = loop_new()};
    log_init("base_threads");
    if (inbox.loop == NULL) {
        perror("loop_new");
        return 1;
    }
    loop_step_set(inbox.loop, take_notes, &inbox);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, put_notes, &inbox) != 0) {
            return 1;
        }
    }
    int seen = loop_run(inbox.loop);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    loop_free(inbox.loop);
    return seen == THREADS * NOTES ? 0 : 1;
}
