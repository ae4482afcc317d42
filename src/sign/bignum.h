/* AUTO_BIGNUM BIGNUM *number = NULL cleanses and frees the number when the variable leaves its
 * scope, unless it is NULL. */
#ifndef PRESIGND_SIGN_BIGNUM_H
#define PRESIGND_SIGN_BIGNUM_H

#include "presignd/base/mem.h"

#include <openssl/bn.h>

static inline void bignum_free_at(BIGNUM **number)
{
    BN_clear_free(*number);
}
#define AUTO_BIGNUM AUTO(bignum_free_at)

#endif
