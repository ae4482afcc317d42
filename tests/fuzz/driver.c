/* Runs a target over files in builds without libFuzzer: driver PATH..., a file or a directory. */
#include "fuzz.h"

#include "presignd/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Maximum depth of directories. */
enum { DEPTH_MAX = 4 };

static char running[4096]; /* the current file, for the handler */
static unsigned files;

static void on_abort(int signal_number)
{
    (void)signal_number;
    static const char text[] = "while running ";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    (void)!write(STDERR_FILENO, running, strnlen(running, sizeof running));
    (void)!write(STDERR_FILENO, "\n", 1);
}

/* Makes the sanitizers end with the signal that the handler catches. */
/* NOLINTBEGIN(bugprone-reserved-identifier): the name that they define */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
/* NOLINTEND(bugprone-reserved-identifier) */
{
    return "abort_on_error=1";
}

static void run_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    PROMISE(file != NULL);
    uint8_t *bytes = mem_alloc(size);
    PROMISE(fread(bytes, 1, size, file) == size);
    fclose(file);
    snprintf(running, sizeof running, "%s", path);
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    files++;
}

static void run_path(const char *path, int depth)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    if (!S_ISDIR(status.st_mode)) {
        run_file(path, (size_t)status.st_size);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.' && depth < DEPTH_MAX) {
            AUTO_FREE char *inner = mem_printf("%s/%s", path, entries[i]->d_name);
            run_path(inner, depth + 1);
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free((void *)entries);
    }
}

int main(int argc, char **argv)
{
    signal(SIGABRT, on_abort);
    for (int i = 1; i < argc; i++) {
        run_path(argv[i], 0);
    }
    printf("%u inputs\n", files);
    return files > 0 ? 0 : 1;
}
