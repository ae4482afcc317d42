/* Media types with parameters, as content-type headers hold them (RFC 9110, section 8.3.1). */
#ifndef PRESIGND_WIRE_MEDIA_H
#define PRESIGND_WIRE_MEDIA_H

#include <stdbool.h>
#include <stddef.h>

/* True when `bytes` is `type` (compared without case), and each charset parameter says utf-8
 * (in any case, quoted or not). Other parameters are fine only with `others_allowed`. */
bool media_type_is(const char *bytes, size_t len, const char *type, bool others_allowed);

#endif
