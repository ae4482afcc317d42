/* Counts the instructions of a target for each file: `cost FILE...` under callgrind, which writes a
 * profile named after the file. Runs the first file once before, to exclude one-time set-up. */
#include "fuzz.h"

#include "presignd/base/mem.h"

#include <jansson.h>
#include <valgrind/callgrind.h>

static void run_file(const char *path)
{
    static uint8_t bytes[1024 * 1024];
    FILE *file = fopen(path, "rbe");
    PROMISE(file != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    CALLGRIND_ZERO_STATS;
    (void)LLVMFuzzerTestOneInput(bytes, size);
    CALLGRIND_DUMP_STATS_AT(path);
}

int main(int argc, char **argv)
{
    json_object_seed(1); /* the same hashes in each run */
    for (int i = 0; i < argc; i++) {
        run_file(argv[i == 0 ? 1 : i]);
    }
    return 0;
}
