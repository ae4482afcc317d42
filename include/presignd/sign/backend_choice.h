/* What computes signatures: what the configuration asks for (daemon.sign_backend), and what this
 * machine has. */
#ifndef PRESIGND_SIGN_BACKEND_CHOICE_H
#define PRESIGND_SIGN_BACKEND_CHOICE_H

#include <stdbool.h>

enum backend_choice { BACKEND_BEST, BACKEND_OPENSSL, BACKEND_CRYPTO_MB };

/* "auto", "openssl" or "crypto_mb". Anything else is BACKEND_BEST. */
enum backend_choice backend_choice_of(const char *text);

/* What signs with this choice, for people: "crypto_mb (libcrypto_mb.so.13)", "openssl:
 * libcrypto_mb is not installed" (free()). NULL and why not (free()) when it is BACKEND_CRYPTO_MB
 * and cannot be. Loads the library to find out: 20 ms. */
char *backend_try(enum backend_choice choice, char **why) __attribute__((warn_unused_result));

#endif
