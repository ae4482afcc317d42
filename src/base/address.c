#include "presignd/base/address.h"

#include "presignd/base/text.h"

#include <arpa/inet.h>
#include <string.h>

enum { HOST_MAX = INET6_ADDRSTRLEN + 2 }; /* with brackets */

/* Relative paths would depend on where the process started. */
static bool parse_path(const char *path, union address *address)
{
    size_t len = strlen(path);
    if (*path != '/' || len >= sizeof address->un.sun_path) {
        return false;
    }
    address->un.sun_family = AF_UNIX;
    memcpy(address->un.sun_path, path, len + 1);
    return true;
}

static bool parse_v6(char *host, uint16_t port, union address *address)
{
    size_t len = strlen(host);
    if (host[len - 1] != ']') {
        return false;
    }
    host[len - 1] = '\0';
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons(port);
    return inet_pton(AF_INET6, host + 1, &address->v6.sin6_addr) == 1;
}

static bool parse_v4(const char *host, uint16_t port, union address *address)
{
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(port);
    return inet_pton(AF_INET, host, &address->v4.sin_addr) == 1;
}

bool address_parse(const char *text, union address *address)
{
    const char *path = address_path(text);
    const char *colon = strrchr(text, ':');
    char host[HOST_MAX + 1];
    int64_t port;
    memset(address, 0, sizeof *address);
    if (path != NULL) {
        return parse_path(path, address);
    }
    if (colon == NULL || (size_t)(colon - text) > HOST_MAX ||
        !text_int(colon + 1, 0, UINT16_MAX, &port)) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    return *host == '[' ? parse_v6(host, (uint16_t)port, address)
                        : parse_v4(host, (uint16_t)port, address);
}

socklen_t address_len(const union address *address)
{
    return address->any.sa_family == AF_INET    ? sizeof address->v4
           : address->any.sa_family == AF_INET6 ? sizeof address->v6
                                                : sizeof address->un;
}

int address_port(const union address *address)
{
    return address->any.sa_family == AF_INET    ? ntohs(address->v4.sin_port)
           : address->any.sa_family == AF_INET6 ? ntohs(address->v6.sin6_port)
                                                : 0;
}

const char *address_path(const char *text)
{
    size_t len = strlen(ADDRESS_UNIX_PREFIX);
    return strncmp(text, ADDRESS_UNIX_PREFIX, len) == 0 ? text + len : NULL;
}

bool address_is_loopback(const char *host)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    return text_equal_nocase(host, "localhost") || strcmp(host, "[::1]") == 0;
}
