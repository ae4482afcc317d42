#include "presignd/base/log.h"
#include "presignd/daemon/daemon.h"
#include "presignd/version.h"

#include <curl/curl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sysexits.h>

/* --set options that one command line may hold. */
enum { SETS_MAX = 256 };

static const char usage[] =
    "Usage: presignd [-c FILE] [--set SECTION.KEY=VALUE]... [--check]\n"
    "\n"
    "Consumes pre-sign request events from Kafka, calls WeChat Pay's pre-entrust-sign\n"
    "endpoints and publishes exactly one outcome for each event.\n"
    "\n"
    "  -c, --config FILE          configuration, and FILE's .d directory beside it\n"
    "                             (default: " CONFIG_DEFAULT_PATH ")\n"
    "      --set SECTION.KEY=VALUE  a value that overrides the files;\n"
    "                             may be repeated\n"
    "      --check                check the configuration, print the result, and exit\n"
    "      --version              print the version and exit\n"
    "      --help                 print this and exit\n"
    "\n"
    "Signals: SIGTERM and SIGINT drain and stop (a second one stops at once); SIGHUP reads\n"
    "the configuration again. Exit status: 0 stopped as asked, 64 wrong usage, 69 a system\n"
    "resource is unavailable, or replacing the Kafka clients did not help,\n"
    "75 fenced by another process, 78 wrong configuration. See presignd(8), presignd.conf(5).\n";

struct arguments {
    struct config_sources sources;
    const char *sets[SETS_MAX];
    bool check;
};

enum { OPTION_SET = 256, OPTION_CHECK, OPTION_VERSION, OPTION_HELP };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},   {"set", required_argument, NULL, OPTION_SET},
    {"check", no_argument, NULL, OPTION_CHECK}, {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},   {NULL, 0, NULL, 0},
};

static int wrong_usage(const char *what)
{
    fprintf(stderr, "presignd: %s; see presignd --help\n", what);
    return EX_USAGE;
}

/* -1: go on; else the status to exit with. */
static int parse(struct arguments *arguments, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            arguments->sources.path = optarg;
            break;
        case OPTION_SET:
            if (arguments->sources.set_count == SETS_MAX) {
                return wrong_usage("too many --set");
            }
            arguments->sets[arguments->sources.set_count++] = optarg;
            break;
        case OPTION_CHECK:
            arguments->check = true;
            break;
        case OPTION_VERSION:
            puts("presignd " PRESIGND_VERSION);
            return EX_OK;
        case OPTION_HELP:
            fputs(usage, stdout);
            return EX_OK;
        default: /* getopt_long() has said what is wrong */
            return wrong_usage("wrong option");
        }
    }
    return optind == argc ? -1 : wrong_usage("it takes options only");
}

/* For this process's memory and /proc: no core dumps, no ptrace by the same user. */
static void protect_memory(void)
{
#ifndef __SANITIZE_ADDRESS__ /* its leak check traces the process */
    prctl(PR_SET_DUMPABLE, 0);
#endif
    /* Few threads allocate; more arenas would only hold on to memory. */
    mallopt(M_ARENA_MAX, 2);
}

int main(int argc, char **argv)
{
    if (daemon_is_signing_process(argc, argv)) {
        protect_memory();
        log_init("presignd");
        return daemon_sign();
    }
    struct arguments arguments = {.sources = {.credentials_dir = getenv("CREDENTIALS_DIRECTORY"),
                                              .runtime_dir = getenv("RUNTIME_DIRECTORY"),
                                              .state_dir = getenv("STATE_DIRECTORY")}};
    arguments.sources.sets = arguments.sets;
    int status = parse(&arguments, argc, argv);
    if (status >= 0) {
        return status;
    }
    protect_memory();
    log_init("presignd");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    status = arguments.check ? daemon_check(&arguments.sources) : daemon_run(&arguments.sources);
    curl_global_cleanup();
    return status;
}
