/* Socket addresses, and their text: ADDRESS:PORT or [ADDRESS]:PORT with a numeric address, or
 * unix:/PATH. Names are never looked up. Pure. */
#ifndef PRESIGND_BASE_ADDRESS_H
#define PRESIGND_BASE_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_UNIX_PREFIX "unix:"

/* `any` names the family. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

/* Ports are 0 to 65535, paths absolute and at most 107 bytes long. False leaves `*address`
 * undefined. */
bool address_parse(const char *text, union address *address) __attribute__((warn_unused_result));
/* For bind(2) and connect(2). */
socklen_t address_len(const union address *address);
/* 0 for a path. */
int address_port(const union address *address);
/* The path within the text of an address, NULL when it is not unix:. */
const char *address_path(const char *text);
/* True for 127.0.0.0/8, [::1] and localhost, as a URL writes the host. */
bool address_is_loopback(const char *host);

#endif
