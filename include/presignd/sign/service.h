/* Where merchants' private keys are, and where requests are signed: in threads of this process, or
 * in a process of its own, which runs the same code. Both are reached over the same two socket
 * pairs: one for what is to be signed (signer.h), one for keys (this file).
 *
 * The process of its own is presignd again, started as /proc/self/exe with SIGN_PROCESS_ARGUMENT.
 * Its memory holds the keys; ours holds their public halves only. It ends when we do.
 */
#ifndef PRESIGND_SIGN_SERVICE_H
#define PRESIGND_SIGN_SERVICE_H

#include "presignd/sign/backend_choice.h"
#include "presignd/sign/ends.h"
#include "presignd/sign/permit.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SIGN_PROCESS_ARGUMENT "--sign-process"

struct sign_service;

/* Threads of this process. NULL with errno set when the system gives none. */
struct sign_service *sign_service_threads(sign_path_fn *may_post)
    __attribute__((warn_unused_result));
/* A process of its own. Call it before any thread is made and before a key is read. NULL and a
 * reason (free()). */
struct sign_service *sign_service_process(char **error) __attribute__((warn_unused_result));
/* Ends threads or process; waits for the signatures that are being made, and at most
 * SIGN_END_MS for the process, which is killed then. Keys may be freed later. Accepts NULL, returns
 * NULL. */
#define SIGN_END_MS 2000
struct sign_service *sign_service_free(struct sign_service *service);

/* The number of signing threads; 0: one for each core. It starts with none. Fewer: those that are
 * too many end after their next signature. False when the system creates too few; the others go
 * on. Blocks for SIGN_ANSWER_MS at most. */
bool sign_service_resize(struct sign_service *service, unsigned threads)
    __attribute__((warn_unused_result));
/* False: RLIMIT_MEMLOCK did not let it lock the memory that keys are computed in. */
bool sign_service_is_locked(const struct sign_service *service);
/* Chooses what signs (OpenSSL at first), before the first key is loaded and the first thread is
 * started. The text that backend_try() gives, as the service has found out. NULL and a reason
 * (free()). Blocks for SIGN_ANSWER_MS at most. */
char *sign_service_choose(struct sign_service *service, enum backend_choice choice, char **why)
    __attribute__((warn_unused_result));
/* What was chosen. */
enum sign_backend sign_service_backend(const struct sign_service *service);
/* 0: threads of this process. */
pid_t sign_service_pid(const struct sign_service *service);
/* How the process has ended: "was killed by signal 9". NULL: it has not, although that was waited
 * for 0.2 s. Borrowed from the service. */
const char *sign_service_end(struct sign_service *service);
/* False: it did not answer the last question about keys or threads. Until it has, further ones
 * fail at once. What it has it may still sign with. */
bool sign_service_answers(const struct sign_service *service);
/* For signer.c: the socket, and a number that is never used again, greater than 0. */
int sign_service_socket(const struct sign_service *service);
uint64_t sign_service_next_id(struct sign_service *service);

/* A key that the service holds. Its references belong to one thread, the event loop's. */
struct sign_key;
/* The service reads the file (key_private_read()) and answers with the public half. NULL and a
 * reason (free()). Blocks for SIGN_ANSWER_MS at most, which is less than the watchdog's time. */
#define SIGN_ANSWER_MS 10000
struct sign_key *sign_key_load(struct sign_service *service, const char *path, char **error)
    __attribute__((warn_unused_result));
/* At the last reference the service frees the key. Blocks for SIGN_ANSWER_MS at most, while the
 * service does not read. Accepts NULL, returns NULL. */
struct sign_key *sign_key_unref(struct sign_key *key);
/* Borrowed. */
EVP_PKEY *sign_key_public(const struct sign_key *key);
uint32_t sign_key_number(const struct sign_key *key);

/* What main() of a program does that was started with that argument alone: it serves until the
 * other side ends. Returns the exit status. */
int sign_process_main(sign_path_fn *may_post);

#endif
