#include "config/text.h"

#include "config/table.h"

#include "presignd/base/mdoc.h"

#include <string.h>

static void sample_section(struct buf *out, const struct config_section *section)
{
    buf_printf(out, "\n; %s\n[%s]\n", section->help, section->heading);
    for (size_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        buf_printf(out, "; %s\n%s =%s%s\n", key->help, key->name, *key->sample == '\0' ? "" : " ",
                   key->sample);
    }
}

void config_sample(struct buf *out)
{
    buf_puts(
        out,
        "; Every key of presignd.conf(5) with its default. The merchant's values are examples.\n"
        "; Write what differs to /etc/presignd/presignd.conf.d/NAME.conf.\n");
    for (size_t i = 0; i < config_section_count; i++) {
        if (config_sections[i].heading != NULL) {
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
        buf_puts(out, key->change == CONFIG_REQUIRED ? "; required.\n" : "; default empty.\n");
    }
    if (key->change == CONFIG_RESTART) {
        buf_puts(out, "A change needs a restart.\n");
    }
}

static void manual_key(struct buf *out, const struct config_key *key)
{
    buf_printf(out, ".It Ic %s\n", key->name);
    mdoc_text(out, key->help);
    buf_putc(out, '\n');
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
