/* Signatures of 1 and of 2 threads, each pinned to a processor of its own: bench-threads [SECONDS
 * [LIBRARY]]
 *
 * Eight at a time, as signing threads get them under load, with the backend that `sign_backend =
 * auto` finds; LIBRARY is a path of libcrypto_mb. With one processor there is one line.
 */
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/sign/key.h"
#include "sign/backend.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#define MESSAGE "1554208460\nn\n{\"pre_entrustweb_id\":\"5778aadf1d8c1e4e6b3f9a2f5d7c9e01\"}\n"
enum { THREADS_MAX = 2 };

struct thread {
    pthread_t id;
    struct backend *backend;
    struct backend_key *key;
    int processor;
    int64_t until_us;
    bool failed;
    unsigned long signatures;
    double cpu_s;
};

static bool sign_eight(struct backend_worker *worker, struct backend_key *key)
{
    struct sign_item items[SIGN_BATCH] = {0};
    bool ok = true;
    for (size_t i = 0; i < SIGN_BATCH; i++) {
        items[i] = (struct sign_item){.key = key, .message = MESSAGE, .len = sizeof MESSAGE - 1};
    }
    backend_sign(worker, items, SIGN_BATCH);
    for (size_t i = 0; i < SIGN_BATCH; i++) {
        ok = ok && items[i].end == SIGN_OK;
        buf_deinit(&items[i].signature);
    }
    return ok;
}

static void *run(void *context)
{
    struct thread *thread = context;
    struct backend_worker *worker = backend_worker_new(thread->backend);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)thread->processor, &set);
    bool ok = pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
    while (ok && clock_mono_us() < thread->until_us) {
        ok = sign_eight(worker, thread->key);
        thread->signatures += SIGN_BATCH;
    }
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    thread->cpu_s = (double)used.tv_sec + (double)used.tv_nsec / 1e9;
    thread->failed = !ok;
    backend_worker_free(worker);
    return NULL;
}

/* Prints the processor time of one signature, and how many all threads made in a second. */
static bool measure(struct backend *backend, struct backend_key *key, const int *processors,
                    size_t count, double seconds)
{
    struct thread threads[THREADS_MAX] = {0};
    int64_t begun_us = clock_mono_us();
    double signatures = 0, cpu_s = 0;
    bool ok = true;
    size_t started = 0;
    while (started < count && ok) {
        struct thread *thread = &threads[started];
        *thread = (struct thread){.backend = backend,
                                  .key = key,
                                  .processor = processors[started],
                                  .until_us = begun_us + (int64_t)(seconds * 1e6)};
        ok = pthread_create(&thread->id, NULL, run, thread) == 0;
        started += ok;
    }
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i].id, NULL);
        ok = ok && !threads[i].failed;
        signatures += (double)threads[i].signatures;
        cpu_s += threads[i].cpu_s;
    }
    double took_s = (double)(clock_mono_us() - begun_us) / 1e6;
    printf("sign%zu %8.1f us CPU, %8.0f/s\n", count, cpu_s * 1e6 / signatures, signatures / took_s);
    return ok;
}

/* The first processors that this process may use; how many. */
static size_t processors_of(int *processors)
{
    cpu_set_t set;
    size_t count = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 0;
    }
    for (int i = 0; i < CPU_SETSIZE && count < THREADS_MAX; i++) {
        if (CPU_ISSET((size_t)i, &set)) {
            processors[count++] = i;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    AUTO_FREE char *why = NULL, *error = NULL;
    EVP_PKEY *private =
        key_private_read(PRESIGND_SOURCE_DIR "/tests/vectors/merchant_private_key.pem", &error);
    struct backend *backend = backend_new(BACKEND_BEST, argc > 2 ? argv[2] : NULL, &why);
    if (private == NULL || backend == NULL) {
        fprintf(stderr, "bench-threads: %s\n", error != NULL ? error : why);
        return EX_NOINPUT;
    }
    AUTO_FREE char *name = backend_describe(backend, why);
    printf("backend %s\n", name);
    struct backend_key *key = backend_key_new(backend, private);
    int processors[THREADS_MAX];
    size_t most = processors_of(processors);
    bool ok = most > 0;
    for (size_t count = 1; count <= most && ok; count++) {
        ok = measure(backend, key, processors, count, seconds);
    }
    backend_key_free(key);
    backend_free(backend);
    return ok ? EX_OK : EX_SOFTWARE;
}
