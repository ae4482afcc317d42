/* Loads the shipped schemas as the daemon does: .init and .fini of a suite. */
#ifndef PRESIGND_TESTS_SCHEMA_SHIPPED_H
#define PRESIGND_TESTS_SCHEMA_SHIPPED_H

#include "presignd/schema/schema.h"

#include <criterion/criterion.h>

#define DIR_SCHEMAS PRESIGND_SOURCE_DIR "/schemas"

static struct schema_set *set;

static void load_set(void)
{
    char *error = NULL;
    set = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    cr_assert(schema_set_add_dir(set, DIR_SCHEMAS, &error), "%s", error);
}

static void free_set(void)
{
    set = schema_set_free(set);
}

#endif
