/* What may be signed, so that the signing threads are no oracle for whoever asks them: a request of
 * presignd, never another call of APIv3. Pure. */
#ifndef PRESIGND_SIGN_PERMIT_H
#define PRESIGND_SIGN_PERMIT_H

#include <stdbool.h>
#include <stddef.h>

/* Of the path of a request, `len` bytes with its query: true when a POST to it may be signed. */
typedef bool sign_path_fn(const char *path, size_t len);

/* The only GET. */
#define SIGN_GET_PATH "/v3/certificates"

/* True for a string as sign_message() makes it: five lines, each with its LF; POST to a path that
 * `may_post` knows, or GET SIGN_GET_PATH with an empty body; ten digits of seconds; a nonce of
 * SIGN_NONCE_LENGTH letters and digits. The body is the rest but its last LF; of a POST it is not
 * empty, and as WeChat Pay takes a body as the bytes that came, it may hold any. */
bool sign_is_permitted(const char *message, size_t len, sign_path_fn *may_post);

#endif
