/* The commands' part of presignctl(1), and the bash completion. */
#include "ctl/kit/command.h"
#include "presignd/base/mdoc.h"
#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- presignctl(1) --- */

static void manual_option(const struct option_row *row, struct buf *out)
{
    AUTO_FREE char *value = row->value == NULL ? mem_strdup("") : mem_printf(" Ar %s", row->value);
    if (row->letter != 0) {
        buf_printf(out, ".It Fl %c%s , Fl -%s%s\n", row->letter, value, row->name, value);
    } else {
        buf_printf(out, ".It Fl -%s%s\n", row->name, value);
    }
    mdoc_text(out, row->help);
    buf_puts(out, ".\n");
}

static void manual_exits(const struct command_exit *row, struct buf *out)
{
    buf_puts(out, ".Pp\nExit status:\n.Bl -tag -width Ds -compact\n");
    for (; row->meaning != NULL; row++) {
        buf_printf(out, ".It %d\n%s\n", row->status, row->meaning);
    }
    buf_puts(out, ".El\n");
}

static void manual_command(const struct command *command, struct buf *out)
{
    AUTO_FREE char *usage = mem_printf("presignctl %s %s", command->name, command->arguments);
    buf_printf(out, ".Ss %s\n", command->name);
    mdoc_text(out, command->summary);
    buf_puts(out, ".\n");
    mdoc_literal(out, usage);
    buf_puts(out, ".Pp\n");
    mdoc_paragraphs(out, command->about);
    if (options_count(command->options) > 0) {
        buf_puts(out, ".Bl -tag -width Ds\n");
        for (size_t i = 0; i < options_count(command->options); i++) {
            manual_option(&command->options[i], out);
        }
        buf_puts(out, ".El\n");
    }
    if (command->more != NULL) {
        AUTO_BUF struct buf more = {0};
        command->more(&more);
        mdoc_literal(out, more.data);
    }
    buf_puts(out, ".Pp\nExamples:\n");
    mdoc_literal(out, command->examples);
    manual_exits(command->exits, out);
}

void command_manual(const struct command *const *commands, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        manual_command(commands[i], out);
    }
}

/* --- bash completion --- */

static void completion_words(const struct command *command, struct buf *out)
{
    const struct option_row *operand = command->operand;
    for (size_t i = 0; operand != NULL && operand->choice != NULL && operand->choice(i) != NULL;
         i++) {
        buf_printf(out, "%s ", operand->choice(i));
    }
    for (size_t i = 0; i < options_count(command->options); i++) {
        const struct option_row *row = &command->options[i];
        if (row->letter != 0) {
            buf_printf(out, "-%c ", row->letter);
        }
        buf_printf(out, "--%s ", row->name);
    }
    buf_puts(out, "--help");
}

/* Completes the option's value: from `words`, as a file or directory, or not at all. */
static void completion_value(const struct option_row *row, struct buf *out)
{
    if (row->kind == OPTION_FLAG) {
        return;
    }
    buf_puts(out, "        ");
    if (row->letter != 0) {
        buf_printf(out, "-%c | ", row->letter);
    }
    buf_printf(out, "--%s) ", row->name);
    if (row->choice != NULL) {
        buf_puts(out, "words=\"");
        for (size_t i = 0; row->choice(i) != NULL; i++) {
            buf_printf(out, "%s%s", i == 0 ? "" : " ", row->choice(i));
        }
        buf_putc(out, '"');
    } else if (strncmp(row->value, "FILE", 4) == 0 || strcmp(row->value, "PATH") == 0) {
        buf_puts(out, "kind='file'");
    } else if (strncmp(row->value, "DIR", 3) == 0) {
        buf_puts(out, "kind='directory'");
    } else {
        buf_puts(out, "return");
    }
    buf_puts(out, " ;;\n");
}

static void completion_command(const struct command *command, struct buf *out)
{
    buf_printf(out, "    %s)\n        words=\"", command->name);
    completion_words(command, out);
    buf_puts(out, "\"\n        case $option in\n");
    for (size_t i = 0; i < options_count(command->options); i++) {
        completion_value(&command->options[i], out);
    }
    buf_puts(out, "        esac ;;\n");
}

static const char completion_head[] =
    "# bash completion for presignctl(1), made from its table of commands:\n"
    "# presignctl help --completion\n"
    "# shellcheck shell=bash\n"
    "\n"
    "_presignctl()\n"
    "{\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local words='' kind=words commands=\"";

/* bash splits --option=value into three words. */
static const char completion_middle[] =
    "\"\n"
    "    COMPREPLY=()\n"
    "    if [[ $current == '=' ]]; then\n"
    "        current=''\n"
    "    elif [[ $option == '=' ]] && ((COMP_CWORD > 2)); then\n"
    "        option=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$commands help --help --version\" "
    "-- \"$current\")\n"
    "        return\n"
    "    fi\n"
    "    case ${COMP_WORDS[1]} in\n"
    "    help) words=$commands ;;\n";

static const char completion_tail[] =
    "    esac\n"
    "    case $kind in\n"
    "    words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\") ;;\n"
    "    *)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -A \"$kind\" -- \"$current\") ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "complete -F _presignctl presignctl\n";

void command_completion(const struct command *const *commands, size_t count, struct buf *out)
{
    buf_puts(out, completion_head);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s%s", i == 0 ? "" : " ", commands[i]->name);
    }
    buf_puts(out, completion_middle);
    for (size_t i = 0; i < count; i++) {
        completion_command(commands[i], out);
    }
    buf_puts(out, completion_tail);
}
