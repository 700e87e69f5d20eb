/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `weir`, and nothing else. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/doc.h"
#include "conf/shared.h"
#include "conf/snapshot.h"
#include "control.h"
#include "filter.h"
#include "mock.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0.1.0"
#endif

static const char usage[] =
    "usage: weir run -c FILE       serve; SIGTERM drains, a second one ends at once\n"
    "       weir check FILE        is the configuration good? Says where it is not\n"
    "       weir mock [options]    a small upstream to try things against (weir mock --help)\n"
    "       weir doc [--schema]    the reference of the configuration, or its JSON Schema\n"
    "       weir version\n"
    "exit status: 0 fine, 1 configuration or start failed, 2 usage, 3 requests were cut at the end\n";

static int usage_error(const char *what)
{
    fprintf(stderr, "weir: %s\n%s", what, usage);
    return EXIT_USAGE;
}

static int verb_run(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "-c") == 0)
        return control_run(argv[2]);
    return usage_error("run takes -c FILE");
}

static int verb_check(int argc, char **argv)
{
    if (argc != 2)
        return usage_error("check takes one FILE");
    struct shared_set *shared = shared_set_new();
    struct snapshot *snap = NULL;
    struct err err = {0};
    int res = control_load(argv[1], shared, &snap, &err);
    if (res == 0) {
        fprintf(stderr, "%s: ok\n", argv[1]);
        snapshot_unref(&snap);
    } else {
        char text[1024];
        fprintf(stderr, "%s\n", err_format(&err, text, sizeof text));
    }
    shared_set_free(shared);
    return res == 0 ? EXIT_FINE : EXIT_CONFIG;
}

static int verb_doc(int argc, char **argv)
{
    if (argc == 1)
        doc_manual(stdout, filters_all);
    else if (argc == 2 && strcmp(argv[1], "--schema") == 0)
        doc_schema(stdout, filters_all);
    else
        return usage_error("doc takes --schema or nothing");
    return EXIT_FINE;
}

/* A standard stream that is closed would become a socket or an event queue's, and logs would be written into that. */
static void standard_streams_open(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) {
    }
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    standard_streams_open();
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "run") == 0)
        return verb_run(argc - 1, argv + 1);
    if (strcmp(verb, "check") == 0)
        return verb_check(argc - 1, argv + 1);
    if (strcmp(verb, "mock") == 0)
        return mock_main(argc - 1, argv + 1);
    if (strcmp(verb, "doc") == 0)
        return verb_doc(argc - 1, argv + 1);
    if (strcmp(verb, "version") == 0 || strcmp(verb, "--version") == 0) {
        printf("weir %s\n", WEIR_VERSION);
        return EXIT_FINE;
    }
    if (strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        fputs(usage, stdout);
        return EXIT_FINE;
    }
    return usage_error(argc > 1 ? "unknown verb" : "a verb is missing");
}
