/* Media types with parameters, as in content-type headers (RFC 9110, section 8.3.1). */
#ifndef PRESIGND_WIRE_MEDIA_H
#define PRESIGND_WIRE_MEDIA_H

#include <stdbool.h>
#include <stddef.h>

/* True if `bytes` is `type` in any case, and each charset parameter is utf-8 (in any case, quoted
 * or not). Other parameters need `others_allowed`. */
bool media_type_is(const char *bytes, size_t len, const char *type, bool others_allowed);

#endif
