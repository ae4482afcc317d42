#include "presignd/base/address.h"

#include "presignd/base/mem.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>

Test(address, numeric_addresses_are_parsed)
{
    union address address;
    cr_assert(address_parse("127.0.0.1:9464", &address));
    cr_assert_eq(address.any.sa_family, AF_INET);
    cr_assert_eq(ntohl(address.v4.sin_addr.s_addr), INADDR_LOOPBACK);
    cr_assert_eq(address_port(&address), 9464);
    cr_assert_eq(address_len(&address), sizeof address.v4);
    cr_assert(address_parse("[2001:db8::1]:65535", &address));
    cr_assert_eq(address.any.sa_family, AF_INET6);
    cr_assert_eq(address_port(&address), 65535);
    cr_assert_eq(address_len(&address), sizeof address.v6);
    cr_assert(address_parse("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:0", &address));
}

Test(address, other_text_is_rejected)
{
    static const char *const bad[] = {
        "",
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1:65536",
        "127.0.0.1:",
        "::1:80",
        "[::1:80",
        "[:80",
        "[]:80",
        ":80",
        "::",
        "127.0.0.1:-1",
        "[::1]",
        "[::1]80",
        "[127.0.0.1]:1",
        "unix:relative",
        "unix:",
    };
    union address address;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_not(address_parse(bad[i], &address), "%s", bad[i]);
    }
}

Test(address, paths_are_absolute_and_fit)
{
    union address address;
    char longest[sizeof ADDRESS_UNIX_PREFIX + 108] = ADDRESS_UNIX_PREFIX "/";
    memset(longest + strlen(longest), 'x', 106);
    cr_assert(address_parse(longest, &address));
    cr_assert_eq(address.any.sa_family, AF_UNIX);
    cr_assert_str_eq(address.un.sun_path, address_path(longest));
    cr_assert_eq(address_port(&address), 0);
    longest[strlen(longest)] = 'x'; /* the array ends in a second NUL */
    cr_assert_not(address_parse(longest, &address));
}

Test(address, loopback_hosts_are_recognized)
{
    static const char *const ours[] = {"127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]"};
    static const char *const others[] = {"128.0.0.1", "127.0.0.1.example.com", "[::2]", "::1", ""};
    for (size_t i = 0; i < ARRAY_LENGTH(ours); i++) {
        cr_expect(address_is_loopback(ours[i]), "%s", ours[i]);
        cr_expect_not(address_is_loopback(others[i]), "%s", others[i]);
    }
}
