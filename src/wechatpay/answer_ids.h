/* Which `pre_entrustweb_id` was accepted for which contract. So an answer that belongs to another
 * request is detected even when its signature is right: a signature does not name its request.
 * Pure.
 *
 * Only hashes are kept, made with a random key of this process, so that nobody outside can choose
 * ids that collide. The newest ANSWER_IDS_MAX ids are kept, each for ANSWER_IDS_AGE_MS, which is
 * how long an id is valid.
 */
#ifndef PRESIGND_WECHATPAY_ANSWER_IDS_H
#define PRESIGND_WECHATPAY_ANSWER_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define ANSWER_IDS_MAX    131072
#define ANSWER_IDS_AGE_MS 600000

#define ANSWER_IDS_KEY_SIZE 32

struct answer_ids;

/* `key` is random. Some 4.5 MiB, taken as the table fills. */
struct answer_ids *answer_ids_new(const unsigned char key[ANSWER_IDS_KEY_SIZE])
    __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct answer_ids *answer_ids_free(struct answer_ids *ids);
/* False when the id was accepted for another merchant or contract code within the last ten
 * minutes; else it is accepted for this one, and remembered. `mono_ms` does not go back. */
bool answer_ids_accept(struct answer_ids *ids, const char *id, const char *mchid,
                       const char *contract_code, int64_t mono_ms)
    __attribute__((warn_unused_result));

#endif
