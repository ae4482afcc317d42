/* The configuration's documents, from the table of keys: the sample file and the keys' part
 * of the manual page. */
#include "config/table.h"

#include "presignd/base/mdoc.h"

#include <string.h>

static const char *sample_value(const struct config_key *key)
{
    return key->sample != NULL ? key->sample : key->default_text;
}

static void sample_section(struct buf *out, const struct config_section *section)
{
    buf_printf(out, "\n; %s\n[%s]\n", section->help, section->sample_name);
    for (size_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        const char *value = sample_value(key);
        buf_printf(out, "; %s\n%s =%s%s\n", key->help, key->name, *value == '\0' ? "" : " ", value);
    }
}

void config_sample(struct buf *out)
{
    buf_puts(out, "; presignd.conf(5): every key with its default, but for the merchant's.\n"
                  "; Files of presignd.conf.d/*.conf beside this one are read after it.\n");
    for (size_t i = 0; i < config_section_count; i++) {
        if (config_sections[i].sample_name != NULL) {
            sample_section(out, &config_sections[i]);
        }
    }
}

/* "Integer from 0 to 60000, in milliseconds; default 5. A change needs a restart." */
static void manual_facts(struct buf *out, const struct config_key *key)
{
    buf_puts(out, ".br\n");
    if (key->type->form == NULL) {
        buf_printf(out, "Integer from %lld to %lld%s%s", (long long)key->min, (long long)key->max,
                   key->unit == NULL ? "" : ", in ", key->unit == NULL ? "" : key->unit);
    } else {
        mdoc_text(out, key->type->form);
    }
    if (*key->default_text != '\0') {
        buf_printf(out, "; default\n.Ql %s .\n", key->default_text);
    } else {
        buf_puts(out, (key->flags & CONFIG_REQUIRED) != 0 ? "; required.\n" : "; default empty.\n");
    }
    if ((key->flags & CONFIG_RESTART) != 0) {
        buf_puts(out, "A change needs a restart.\n");
    }
}

static void manual_key(struct buf *out, const struct config_key *key)
{
    buf_printf(out, ".It Ic %s\n", key->name);
    mdoc_text(out, key->help);
    buf_puts(out, ".\n");
    manual_facts(out, key);
}

void config_manual(struct buf *out)
{
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        buf_printf(out, ".Ss Section %s%s\n", section->name,
                   section->kind == CONFIG_MERCHANT ? " MCHID" : "");
        mdoc_text(out, section->help);
        buf_putc(out, '\n');
        if (section->key_count > 0) {
            buf_puts(out, ".Bl -tag -width Ds\n");
            for (size_t j = 0; j < section->key_count; j++) {
                manual_key(out, &section->keys[j]);
            }
            buf_puts(out, ".El\n");
        }
    }
}
