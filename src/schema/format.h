/* The table of `format` names that are asserted. The tests are pure. */
#ifndef PRESIGND_SCHEMA_FORMAT_H
#define PRESIGND_SCHEMA_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

typedef bool format_fn(const char *bytes, size_t len);

/* The test of a format, or NULL when it is not asserted. */
format_fn *format_find(const char *name);

format_fn format_date;      /* RFC 3339 full-date, a day of the calendar */
format_fn format_date_time; /* RFC 3339 date-time */
format_fn format_time;      /* RFC 3339 full-time */
format_fn format_uri;       /* RFC 3986 URI (not a relative reference) */
format_fn format_ipv4;      /* RFC 2673, section 3.2 */
format_fn format_ipv6;      /* RFC 4291, section 2.2 */

#endif
