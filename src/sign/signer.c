#include "presignd/sign/signer.h"

#include "presignd/sign/sign.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* More threads do not sign faster on any expected machine. */
enum { THREADS_MAX = 256 };

struct worker {
    struct signer *signer;
    unsigned index;
    pthread_t thread;
};

struct signer {
    struct loop_fd *watch;
    int event;        /* eventfd: "done" went from empty to not empty */
    unsigned started; /* workers that run or must be joined */
    struct worker workers[THREADS_MAX];

    pthread_mutex_t lock;  /* for all below */
    unsigned thread_count; /* wanted; a worker with a greater or equal index ends */
    pthread_cond_t work;
    struct list waiting;
    struct list done;
    unsigned idle; /* threads in pthread_cond_wait() */
    bool stopping;
};

/* An equal share of the waiting jobs, so that no thread stays idle while another has a batch. */
static size_t share_of(const struct signer *signer)
{
    size_t share = (signer->waiting.count + signer->thread_count - 1) / signer->thread_count;
    return share < SIGNER_BATCH ? share : SIGNER_BATCH;
}

static bool to_end(const struct worker *worker)
{
    return worker->signer->stopping || worker->index >= worker->signer->thread_count;
}

/* Waits for jobs. 0 when the thread must end. */
static size_t take(struct worker *worker, struct signer_job *batch[SIGNER_BATCH])
{
    struct signer *signer = worker->signer;
    size_t count = 0;
    pthread_mutex_lock(&signer->lock);
    while (list_empty(&signer->waiting) && !to_end(worker)) {
        signer->idle++;
        pthread_cond_wait(&signer->work, &signer->lock);
        signer->idle--;
    }
    size_t share = to_end(worker) ? 0 : share_of(signer);
    while (count < share) {
        batch[count++] = CONTAINER_OF(list_pop_front(&signer->waiting), struct signer_job, link);
    }
    pthread_mutex_unlock(&signer->lock);
    return count;
}

/* Returns the batch with one wake-up of the loop. */
static void give_back(struct signer *signer, struct signer_job *const *batch, size_t count)
{
    pthread_mutex_lock(&signer->lock);
    bool was_empty = list_empty(&signer->done);
    for (size_t i = 0; i < count; i++) {
        list_push_back(&signer->done, &batch[i]->link);
    }
    pthread_mutex_unlock(&signer->lock);
    if (was_empty) {
        /* Fails only when the counter is full; then the loop is awake. */
        (void)eventfd_write(signer->event, 1);
    }
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct signer *signer = worker->signer;
    struct signer_job *batch[SIGNER_BATCH];
    for (size_t count = take(worker, batch); count > 0; count = take(worker, batch)) {
        for (size_t i = 0; i < count; i++) {
            struct signer_job *job = batch[i];
            job->ok = sign_bytes(job->key, job->message.data, job->message.len, &job->signature);
        }
        give_back(signer, batch, count);
    }
    return NULL;
}

static void move_all(struct list *from, struct list *to)
{
    for (struct list_link *link; (link = list_pop_front(from)) != NULL;) {
        list_push_back(to, link);
    }
}

/* `done` may submit jobs and free its own, but must not free the signer. */
static void deliver_jobs(struct list *jobs)
{
    for (struct list_link *link; (link = list_pop_front(jobs)) != NULL;) {
        struct signer_job *job = CONTAINER_OF(link, struct signer_job, link);
        job->done(job);
    }
}

/* On the loop's thread. */
static void deliver(void *context, uint32_t epoll_events)
{
    (void)epoll_events;
    struct signer *signer = context;
    eventfd_t ignored;
    (void)eventfd_read(signer->event, &ignored);
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&signer->lock);
    move_all(&signer->done, &done);
    pthread_mutex_unlock(&signer->lock);
    deliver_jobs(&done);
}

/* The cores that this process may use: a container may have fewer. */
static unsigned cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* The event loop handles signals, so the threads are created with all signals blocked. */
static int start_threads(struct signer *signer)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    /* Only this thread changes thread_count, so reading it needs no lock. */
    while (signer->started < signer->thread_count && error == 0) {
        struct worker *worker = &signer->workers[signer->started];
        *worker = (struct worker){.signer = signer, .index = signer->started};
        error = pthread_create(&worker->thread, NULL, work, worker);
        if (error == 0) {
            (void)pthread_setname_np(worker->thread, "presignd-sign");
            signer->started++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static int start(struct signer *signer, struct loop *loop)
{
    signer->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signer->event < 0) {
        return errno;
    }
    signer->watch = loop_fd_add(loop, signer->event, EPOLLIN, deliver, signer);
    if (signer->watch == NULL) {
        return errno;
    }
    return start_threads(signer);
}

static unsigned threads_of(unsigned threads)
{
    threads = threads == 0 ? cores() : threads;
    return threads > THREADS_MAX ? THREADS_MAX : threads;
}

struct signer *signer_new(struct loop *loop, unsigned threads)
{
    struct signer *signer = mem_zalloc(1, sizeof *signer);
    signer->event = -1;
    signer->thread_count = threads_of(threads);
    pthread_mutex_init(&signer->lock, NULL);
    pthread_cond_init(&signer->work, NULL);
    list_init(&signer->waiting);
    list_init(&signer->done);
    int error = start(signer, loop);
    if (error != 0) {
        signer_free(signer);
        errno = error;
        return NULL;
    }
    return signer;
}

static void join_from(struct signer *signer, unsigned first)
{
    for (unsigned i = first; i < signer->started; i++) {
        pthread_join(signer->workers[i].thread, NULL);
    }
    signer->started = first < signer->started ? first : signer->started;
}

bool signer_resize(struct signer *signer, unsigned threads)
{
    unsigned wanted = threads_of(threads);
    pthread_mutex_lock(&signer->lock);
    signer->thread_count = wanted;
    pthread_cond_broadcast(&signer->work);
    pthread_mutex_unlock(&signer->lock);
    join_from(signer, wanted);
    if (start_threads(signer) == 0) {
        return true;
    }
    /* Fewer than wanted: the running threads share the work. */
    pthread_mutex_lock(&signer->lock);
    signer->thread_count = signer->started;
    pthread_mutex_unlock(&signer->lock);
    return false;
}

struct signer *signer_free(struct signer *signer)
{
    if (signer == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&signer->lock);
    signer->stopping = true;
    pthread_cond_broadcast(&signer->work);
    pthread_mutex_unlock(&signer->lock);
    join_from(signer, 0);
    move_all(&signer->waiting, &signer->done);
    deliver_jobs(&signer->done);
    loop_fd_remove(signer->watch);
    if (signer->event >= 0) {
        close(signer->event);
    }
    pthread_cond_destroy(&signer->work);
    pthread_mutex_destroy(&signer->lock);
    free(signer);
    return NULL;
}

void signer_submit(struct signer *signer, struct signer_job *job)
{
    job->ok = false;
    pthread_mutex_lock(&signer->lock);
    list_push_back(&signer->waiting, &job->link);
    if (signer->idle > 0) {
        pthread_cond_signal(&signer->work);
    }
    pthread_mutex_unlock(&signer->lock);
}

size_t signer_waiting(const struct signer *signer)
{
    /* The lock is not part of the signer's visible state. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&signer->lock;
    pthread_mutex_lock(lock);
    size_t count = signer->waiting.count;
    pthread_mutex_unlock(lock);
    return count;
}
