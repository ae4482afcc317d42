/* The largest key that libcrypto_mb takes: bytes and 64-bit words of a number of 4096 bits. */
#ifndef PRESIGND_SIGN_CRYPTO_MB_SIZES_H
#define PRESIGND_SIGN_CRYPTO_MB_SIZES_H

#define CRYPTO_MB_BYTES_MAX 512
#define CRYPTO_MB_WORDS_MAX 64

#endif
