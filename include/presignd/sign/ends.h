/* How a signature ended, and what made it; both with their names in metrics. A verification by
 * libcrypto_mb has the same ends (batch_verifier.h). */
#ifndef PRESIGND_SIGN_ENDS_H
#define PRESIGND_SIGN_ENDS_H

#define SIGN_ENDS(ROW)                                                                            \
    ROW(OK, "ok")                                                                                 \
    ROW(WRONG, "wrong")   /* it does not verify with the public key */                            \
    ROW(FAILED, "failed") /* no such key, a string that is not signed, no memory, an error of the \
                           * library */

#define SIGN_END(end, name) SIGN_##end,
enum sign_end { SIGN_ENDS(SIGN_END) SIGN_END_COUNT };
#undef SIGN_END

#define SIGN_BACKENDS(ROW)  \
    ROW(OPENSSL, "openssl") \
    ROW(CRYPTO_MB, "crypto_mb")

#define SIGN_BACKEND(backend, name) SIGN_BY_##backend,
enum sign_backend { SIGN_BACKENDS(SIGN_BACKEND) SIGN_BACKEND_COUNT };
#undef SIGN_BACKEND

const char *sign_end_name(enum sign_end end);
const char *sign_backend_name(enum sign_backend backend);

#endif
