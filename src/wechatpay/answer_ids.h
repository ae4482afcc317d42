/* Which `pre_entrustweb_id` was accepted for which contract. This detects an answer that belongs to
 * another request although its signature is right: a signature does not name its request. Pure.
 *
 * Only keyed hashes are kept. The key is random for each process, so that a server cannot choose
 * colliding ids. The newest ANSWER_IDS_MAX ids are kept, each for ANSWER_IDS_AGE_MS, the validity
 * of an id.
 */
#ifndef PRESIGND_WECHATPAY_ANSWER_IDS_H
#define PRESIGND_WECHATPAY_ANSWER_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define ANSWER_IDS_MAX    131072
#define ANSWER_IDS_AGE_MS 600000

#define ANSWER_IDS_KEY_SIZE 32

struct answer_ids;

/* `key` is random. Takes about 4.5 MiB, as the table fills. */
struct answer_ids *answer_ids_new(const unsigned char key[ANSWER_IDS_KEY_SIZE])
    __attribute__((warn_unused_result));
/* Accepts NULL, returns NULL. */
struct answer_ids *answer_ids_free(struct answer_ids *ids);
/* False when the id was accepted for another merchant or contract code in the last ten minutes.
 * Otherwise stores the id for this one. `mono_ms` must not decrease. */
bool answer_ids_accept(struct answer_ids *ids, const char *id, const char *mchid,
                       const char *contract_code, int64_t mono_ms)
    __attribute__((warn_unused_result));

#endif
